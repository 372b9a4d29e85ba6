// Marks a function as callable from host and device code, so that row codecs and step arithmetic
// are written once. Expands to nothing where the file is not compiled by nvcc.

#ifndef TERRACE_FORMATS_HOST_DEVICE_H_
#define TERRACE_FORMATS_HOST_DEVICE_H_

#if defined(__CUDACC__)
#define TERRACE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define TERRACE_HOST_DEVICE inline __attribute__((always_inline))
#endif

#endif  // TERRACE_FORMATS_HOST_DEVICE_H_
