"""Base of every component's config: frozen, no extra keys, every field described (with its unit)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Subclass it with ``name: type = Field(default, description="... [unit]")`` for every setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
