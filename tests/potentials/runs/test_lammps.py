"""Tables of LAMMPS' logs."""

from forcemap.potentials.runs.lammps import thermo_rows, thermo_tables

LOG = """
Step without numbers
   Step          Temp
         0   600
forcemap: potential.forcemap: extrapolation grade above 1 at 41 of 56 steps
        50   3.1e+2
WARNING: something 1 2
       100   nan
Fix halt condition for fix-id boiled met on step 150 with value 2.5565
       150   29
Loop time of 0.4 on 2 procs for 150 steps with 4 atoms
       200   7
   Step          Temp         Volume
       150   1          2
       200   1
"""


def test_rows_are_read_across_lines_between_them() -> None:
    first, second = thermo_tables(LOG)
    assert first["Step"].tolist() == [0.0, 50.0, 100.0, 150.0]
    assert first["Temp"][1] == 310.0
    assert second["Volume"].tolist() == [2.0]  # the last row was cut
    assert thermo_rows(LOG)["Step"].tolist() == [150.0]


def test_a_log_without_a_table_has_no_rows() -> None:
    assert thermo_tables("no table") == []
    assert len(thermo_rows("no table")["Step"]) == 0
