/* A trained network, written by byhand:
 *     LAYERS
 * SHA-256 of its weights: SHA256
 *
 * C99, without a library but the standard one, without allocation, without state: any number of threads may call it, each with a memory of
 * its own. */
#ifndef NAME_H
#define NAME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NAME_INPUTS INPUT_LEN
#define NAME_OUTPUTS OUTPUT_LEN
#define NAME_MEMORY MEMORY_LEN
PICTURES

/* What the outputs stand for. */
extern const char *const name_classes[NAME_OUTPUTS];

/* From an input of NAME_INPUTS numbers the NAME_OUTPUTS outputs, before the softmax. The memory has NAME_MEMORY numbers; what is in it
 * before does not matter. */
void name_run(const NUMBER *input, float *logits, NUMBER *memory);

#ifdef __cplusplus
}
#endif

#endif
