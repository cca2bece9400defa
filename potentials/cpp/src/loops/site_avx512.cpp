// The site loops for one instruction set; potentials/cpp/CMakeLists.txt gives the machine flags.
#define FORCEMAP_LOOPS loops_avx512
#define FORCEMAP_LOOPS_NAME "avx512"
#define FORCEMAP_LOOPS_GETTER avx512_kernels
#include "site_loops.ipp"
