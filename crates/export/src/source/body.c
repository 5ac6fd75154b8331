/* See FILE.h. With a program around it that reads pictures as an IDX file from its standard input:
 *
 *     cc -std=c99 -O3 -march=native -DNAME_MAIN FILE.c -lm -o FILE && ./FILE < images-idx3-ubyte
 *
 * Products and sums are rounded as byhand rounds them, so no option may let the compiler change them (-ffast-math). */
#include "FILE.h"

#include <math.h>
#include <string.h>

#ifdef __FAST_MATH__
#error "compile without -ffast-math: sums would be rounded otherwise"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
