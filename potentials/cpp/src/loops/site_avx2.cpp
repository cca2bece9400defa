// The site loops for one instruction set; potentials/cpp/CMakeLists.txt gives the machine flags.
#define FORCEMAP_LOOPS loops_avx2
#define FORCEMAP_LOOPS_NAME "avx2"
#define FORCEMAP_LOOPS_GETTER avx2_kernels
#include "site_loops.ipp"
