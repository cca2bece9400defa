"""What `forcemap pimd`, the demo and the examples share; whole runs are in their tests."""

import pytest
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.i_pi import with_total_steps

XML = "<simulation>\n <total_steps>\n 10 </total_steps> <step> 3 </step></simulation>"


def test_steps_are_replaced_and_nothing_else() -> None:
    expected = "<simulation>\n <total_steps> 70 </total_steps> <step> 3 </step></simulation>"
    assert with_total_steps(XML, 70) == expected


@pytest.mark.parametrize(("text", "count"), [("<simulation/>", 0), (XML + XML, 2)])
def test_input_without_one_number_of_steps_is_refused(text: str, count: int) -> None:
    with pytest.raises(ForcemapError, match=f"<total_steps> {count} times"):
        with_total_steps(text, 70)
