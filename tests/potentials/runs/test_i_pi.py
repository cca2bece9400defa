"""What `forcemap pimd`, the demo and the examples share; whole runs are in their tests."""

import os
from pathlib import Path

import pytest
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.i_pi import Drivers, with_total_steps

XML = "<simulation>\n <total_steps>\n 10 </total_steps> <step> 3 </step></simulation>"


def test_steps_are_replaced_and_nothing_else() -> None:
    expected = "<simulation>\n <total_steps> 70 </total_steps> <step> 3 </step></simulation>"
    assert with_total_steps(XML, 70) == expected


@pytest.mark.parametrize(("text", "count"), [("<simulation/>", 0), (XML + XML, 2)])
def test_input_without_one_number_of_steps_is_refused(text: str, count: int) -> None:
    with pytest.raises(ForcemapError, match=f"<total_steps> {count} times"):
        with_total_steps(text, 70)


def test_drivers_share_the_cores_and_have_logs_of_their_own(tmp_path: Path) -> None:
    cores = os.cpu_count() or 1
    (alone,) = Drivers(tmp_path / "si.forcemap", "address").programs(tmp_path)
    assert alone.log == tmp_path / "driver.log"
    assert list(alone.command[-4:]) == ["--unix", "address", "--threads", str(cores)]
    assert str(tmp_path / "si.forcemap") in alone.command
    several = Drivers(tmp_path / "si.forcemap", 31415, clients=cores + 1).programs(tmp_path)
    assert [p.log.name for p in several] == [f"driver-{n + 1}.log" for n in range(cores + 1)]
    assert all(list(p.command[-4:]) == ["--port", "31415", "--threads", "1"] for p in several)
    (given,) = Drivers(tmp_path / "si.forcemap", "address", threads=3).programs(tmp_path)
    assert list(given.command[-2:]) == ["--threads", "3"]
