// TERRACE_MULTIVERSION compiles a host loop three times (SSE2, AVX2, AVX-512) and picks one when
// the program loads. Put it on the function that holds the loop, and keep everything the loop
// calls TERRACE_HOST_DEVICE (always inlined): a call that is not inlined, or a lambda, is compiled
// for the base instruction set. All three give the same bits, because files that use it are
// compiled with -ffp-contract=off.
//
// It expands to nothing where the toolchain cannot do it (clang 14 refuses templates, and a
// thread-sanitized program would run the resolver before the sanitizer is ready).

#ifndef TERRACE_SRC_BASE_MULTIVERSION_H_
#define TERRACE_SRC_BASE_MULTIVERSION_H_

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__CUDACC__) && !defined(__SANITIZE_THREAD__) && __GNUC__ >= 12
#define TERRACE_MULTIVERSION \
  __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define TERRACE_MULTIVERSION
#endif

#endif  // TERRACE_SRC_BASE_MULTIVERSION_H_
