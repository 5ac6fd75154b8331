
#ifdef NAME_MAIN
#include <stdio.h>

/* One line a picture: what it is, and all outputs. */
int main(void)
{
    /* Three dimensions of grey pictures, four of pictures in colour. */
    enum { HEADER = NAME_CHANNELS == 1 ? 16 : 20 };
    static const uint8_t magic[4] = {0, 0, 8, HEADER / 4 - 1}, channels[4] = {0, 0, 0, NAME_CHANNELS};
    static const uint8_t sides[8] = {0, 0, NAME_ROWS >> 8, NAME_ROWS & 255, 0, 0, NAME_COLUMNS >> 8, NAME_COLUMNS & 255};
    static uint8_t picture[NAME_CHANNELS * NAME_ROWS * NAME_COLUMNS];
    static NUMBER input[NAME_INPUTS], memory[NAME_MEMORY];
    uint8_t header[HEADER];
    float logits[NAME_OUTPUTS];
    if (fread(header, 1, HEADER, stdin) != HEADER || memcmp(header, magic, 4) || memcmp(header + HEADER - 8, sides, 8)
        || (NAME_CHANNELS > 1 && memcmp(header + 8, channels, 4))) {
        fprintf(stderr, "expected an IDX file of pictures of %dx%dx%d bytes, not gzipped\n", NAME_CHANNELS, NAME_ROWS, NAME_COLUMNS);
        return 1;
    }
    while (fread(picture, 1, sizeof picture, stdin) == sizeof picture) {
        int best = 0;
        name_prepare(picture, input);
        name_run(input, logits, memory);
        for (int i = 1; i < NAME_OUTPUTS; i++) {
            best = logits[i] > logits[best] ? i : best;
        }
        printf("%s", name_classes[best]);
        for (int i = 0; i < NAME_OUTPUTS; i++) {
            printf(" %.9g", logits[i]);
        }
        printf("\n");
    }
    return 0;
}
#endif
