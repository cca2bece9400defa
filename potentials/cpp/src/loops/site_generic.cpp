// The site loops for one instruction set; potentials/cpp/CMakeLists.txt gives the machine flags.
#define FORCEMAP_LOOPS loops_generic
#define FORCEMAP_LOOPS_NAME "generic"
#define FORCEMAP_LOOPS_GETTER generic_kernels
#include "site_loops.ipp"
