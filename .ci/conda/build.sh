#!/usr/bin/env bash
# Run by rattler-build, which sets PREFIX, PYTHON and SP_DIR.
set -euo pipefail

version=$(pkg-config --modversion "$PREFIX/lib/pkgconfig/liblammps.pc")  # 2025.7.22 or 2025.7.22.4
IFS=. read -r year month day _ <<<"$version."
number=$(printf '%d%02d%02d' "$year" "$((10#$month))" "$((10#${day%.}))")
export SKBUILD_CMAKE_ARGS="-DLAMMPS_SOURCE_DIR=$PREFIX/include/lammps;-DLAMMPS_VERSION=$number;-DMPI_HEADERS=$PREFIX/include"
"$PYTHON" -m pip install . --no-deps --no-build-isolation -v

mkdir -p "$PREFIX/etc/conda/activate.d" "$PREFIX/etc/conda/deactivate.d"
cat >"$PREFIX/etc/conda/activate.d/forcemap.sh" <<EOF
export FORCEMAP_OLD_PLUGIN_PATH="\${LAMMPS_PLUGIN_PATH:-}"
export LAMMPS_PLUGIN_PATH="$SP_DIR/forcemap/lammps_plugin\${LAMMPS_PLUGIN_PATH:+:\$LAMMPS_PLUGIN_PATH}"
EOF
cat >"$PREFIX/etc/conda/deactivate.d/forcemap.sh" <<'EOF'
export LAMMPS_PLUGIN_PATH="${FORCEMAP_OLD_PLUGIN_PATH:-}"
unset FORCEMAP_OLD_PLUGIN_PATH
EOF
