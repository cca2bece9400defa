"""``forcemap fit --dry-run``: the sizes it tells are those of the fit, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from forcemap.fitter import estimate as module
from forcemap.fitter.cli import cli
from forcemap.fitter.config import Settings
from forcemap.fitter.dataset import read_frames
from forcemap.fitter.estimate import Estimate, estimate
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.frame import Frame
from forcemap.potentials.errors import ForcemapError
from structures import random_atoms

EXAMPLE = Path(__file__).parents[2] / "examples" / "silicon"
