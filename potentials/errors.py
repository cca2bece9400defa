"""The errors that forcemap raises for what a user gave it; their text is shown as it is."""

__all__ = ["ForcemapError", "ModelFileError"]


class ForcemapError(Exception):
    """A fault in the input (a file, a setting, a structure), described in words for the user.

    Attributes:
        structure: which structure of a batch it is about; None where there is no batch.
    """

    structure: int | None = None


class ModelFileError(ForcemapError):
    """A model or potential file that cannot be read, is damaged, or cannot be written."""
