"""The contracts as tests to inherit (``wetoolkit.testing.contracts``) and a toy domain to try the core with (``fakes``)."""
