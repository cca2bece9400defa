// Compiles a function for several machines; the right one is taken at run time.
#pragma once

// The sanitizers' code would run in the choice itself, which the loader makes before they are
// ready.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FORCEMAP_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FORCEMAP_CLONES
#endif

// Before a loop: its iterations touch different numbers, whatever its pointers are.
#if defined(__clang__)
#define FORCEMAP_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define FORCEMAP_INDEPENDENT _Pragma("GCC ivdep")
#else
#define FORCEMAP_INDEPENDENT
#endif
