"""``read_frames`` under the name by which scripts import it; its room is `data`."""

from forcemap.fitter.data.dataset import read_frames

__all__ = ["read_frames"]
