"""A viewer in the browser (viser): gaussians, boxes, cameras and trust of a scene, with a time line. It serves 127.0.0.1 alone.

Every body is a node of its own that a new time only moves; limbs that sway are sent again. The browser draws harmonics of degree
0, so colours that turn with the view are seen from nowhere in particular. Needs the extra ``view``.
"""

from __future__ import annotations

import importlib
import threading
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wetoolkit.errors import PluginError
from wetoolkit.sheets import TRUST, coloured
from wetoolkit_splat.around import span
from wetoolkit_splat.tours import Box, Eye, Tour
from wetoolkit_splat.twin import covariances
from wetoolkit_splat.types import C0, Gaussians

HOST = "127.0.0.1"
UNKNOWN = (120, 124, 130)  # colour of a camera of which no trust is known
Double = NDArray[np.float64]


class Viewer:
    """Serves until ``close()``."""

    def __init__(self, tour: Tour, title: str, port: int = 0) -> None:
        self.tour = tour
        with redirect_stdout(StringIO()):  # it would print a panel of its own
            self.server = _viser().ViserServer(host=HOST, port=port, label=title, verbose=False)
        self.server.request_share_url = lambda verbose=True: None  # a page could ask for a tunnel to the outside: there is none
        self.server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._parts = _Parts(self.server, tour)
        self._stop = threading.Event()
        self._controls(title)
        self.show(0)
        self._player = threading.Thread(target=self._play, daemon=True)
        self._player.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.server.get_port()}"

    def close(self) -> None:
        """Stop serving."""
        self._stop.set()
        self._player.join(timeout=2.0)
        with redirect_stdout(StringIO()):
            self.server.stop()

    def show(self, number: int) -> None:
        """Everybody at one of the times."""
        self._parts.place(number)

    def _controls(self, title: str) -> None:
        gui, tour = self.server.gui, self.tour
        count = sum(len(node.gaussians) for node in tour.scene.nodes.values())
        gui.add_markdown(f"**{title}**  \n{count:,} gaussians, {len(tour.scene.nodes)} nodes, {len(tour.eyes)} cameras")
        last = len(tour.times) - 1
        self.time = gui.add_slider("time [step]", 0, max(last, 1), 1, 0, visible=last > 0)
        self.clock = gui.add_text("time [s]", f"{tour.times[0]:.1f}", disabled=True, visible=last > 0)
        self.playing = gui.add_checkbox("play", False, visible=last > 0)
        self.by_trust = gui.add_checkbox("colour by trust", False, visible=bool(tour.trust), hint="0 red, 0.5 yellow, 1 teal")
        if not tour.trust:
            gui.add_markdown("Trust is not known for this scene.")
        self.boxes = gui.add_checkbox("boxes", True, visible=bool(tour.boxes))
        self.cameras = gui.add_checkbox("cameras", False, visible=bool(tour.eyes), hint="coloured by the trust of their view")
        self.time.on_update(lambda _: self._moved())
        self.by_trust.on_update(lambda _: self._parts.paint(bool(self.by_trust.value)))
        self.boxes.on_update(lambda _: self._parts.reveal("/boxes", bool(self.boxes.value)))
        self.cameras.on_update(lambda _: self._parts.reveal("/cameras", bool(self.cameras.value)))

    def _moved(self) -> None:
        number = min(int(self.time.value), len(self.tour.times) - 1)
        self.clock.value = f"{self.tour.times[number]:.1f}"
        self.show(number)

    def _play(self) -> None:
        step = float(np.median(np.diff(self.tour.times))) if len(self.tour.times) > 1 else 0.1
        while not self._stop.wait(step):
            if self.playing.value:
                self.time.value = (int(self.time.value) + 1) % len(self.tour.times)


class _Parts:
    """The nodes in the browser."""

    def __init__(self, server: Any, tour: Tour) -> None:
        self.tour, self.scene, self.lock = tour, server.scene, threading.Lock()
        self.scene.set_up_direction(tour.up)
        self.groups = {name: self.scene.add_frame(name, show_axes=False) for name in ("/splats", "/boxes", "/cameras")}
        self.groups["/cameras"].visible = False
        nodes = tour.scene.nodes
        self.colours = {name: colours_of(node.gaussians) for name, node in nodes.items()}
        self.splats = {name: self._splat(name, node.gaussians) for name, node in nodes.items()}
        self.boxes = {name: self._box(name, box) for name, box in tour.boxes.items()}
        for number, eye in enumerate(tour.eyes):
            self._eye(number, eye)
        self._stand(server)

    def _splat(self, name: str, gaussians: Gaussians) -> Any:
        opacity = torch.sigmoid(gaussians.opacity_logits)[:, None].numpy()
        spread = covariances(gaussians.quaternions, gaussians.log_scales).numpy()
        return self.scene.add_gaussian_splats(f"/splats/{name}", gaussians.means.numpy(), spread, self.colours[name], opacity)

    def _box(self, name: str, box: Box) -> Any:
        path = f"/boxes/{name}"
        return self.scene.add_box(path, box.colour, box.size, wireframe=True, cast_shadow=False, receive_shadow=False)

    def _eye(self, number: int, eye: Eye) -> None:
        colour = UNKNOWN if eye.trust is None else tuple(int(value) for value in coloured(np.array(eye.trust), TRUST))
        self.scene.add_camera_frustum(
            f"/cameras/{number:04d}-{eye.name}", eye.angle, eye.aspect, color=colour, wxyz=wxyz(eye.pose[:3, :3]),
            position=eye.pose[:3, 3], scale=0.3,
        )  # fmt: skip

    def _stand(self, server: Any) -> None:
        """The first view: just behind the first camera that looks ahead, or so far away that the scene is seen."""
        up, eyes = np.array(self.tour.up), self.tour.eyes
        if eyes:
            way = eyes[-1].pose[:3, 3] - eyes[0].pose[:3, 3]
            pose = max((one for one in eyes if one.name == eyes[0].name), key=lambda one: float(one.pose[:3, 2] @ way)).pose
            eye, target = pose[:3, 3] - 3.0 * pose[:3, 2] + up, pose[:3, 3] + 10.0 * pose[:3, 2]
        else:
            middle, reach = span(self.tour.scene, self.tour.times[0])
            target = middle.double().numpy()
            eye = target + reach * (1.6 * np.eye(3)[int(np.abs(up).argmin())] + 0.8 * up)
        server.initial_camera.position, server.initial_camera.look_at = eye, target

    def place(self, number: int) -> None:
        """Bodies at one of the times; those who are not there are hidden."""
        poses, time, nodes = self.tour.poses(number), self.tour.times[number], self.tour.scene.nodes
        with self.lock:
            for name, handle in [*self.splats.items(), *self.boxes.items()]:
                if name not in nodes or nodes[name].track is not None:
                    _put(handle, poses.get(name))
            for name, node in nodes.items():
                if name in poses and node.sway is not None:
                    self.splats[name].centers = node.swayed(time).means.numpy()

    def paint(self, trusted: bool) -> None:
        """In their colours, or by their trust."""
        with self.lock:
            for name, handle in self.splats.items():
                known = self.tour.trust.get(name)
                handle.rgbs = self.colours[name] if not trusted or known is None else coloured(known, TRUST)

    def reveal(self, group: str, visible: bool) -> None:
        """Show or hide a group."""
        self.groups[group].visible = visible


def _put(handle: Any, pose: Tensor | None) -> None:
    handle.visible = pose is not None
    if pose is not None:
        matrix = pose.double().numpy()
        handle.wxyz, handle.position = wxyz(matrix[:3, :3]), matrix[:3, 3]


def colours_of(gaussians: Gaussians) -> NDArray[np.float32]:
    """[N, 3] in [0, 1]: the harmonics' constant part."""
    return (gaussians.sh[:, 0] * C0 + 0.5).clamp(0, 1).detach().numpy()


def wxyz(rotation: Double) -> Double:
    """[4] quaternion of a rotation [3, 3]."""
    from scipy.spatial.transform import Rotation

    return np.roll(Rotation.from_matrix(rotation).as_quat(), 1)


def _viser() -> Any:
    try:
        return importlib.import_module("viser")
    except ImportError as error:
        raise PluginError(f"the viewer needs viser: {error}", way_out="pip install 'wetoolkit-splat[view]'") from error


__all__ = ["HOST", "Viewer", "colours_of", "wxyz"]
