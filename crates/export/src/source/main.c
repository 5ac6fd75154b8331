
#ifdef NAME_MAIN
#include <stdio.h>

/* One line a picture: what it is, and all outputs. */
int main(void)
{
    static const uint8_t magic[4] = {0, 0, 8, 3};
    static const uint8_t sides[8] = {0, 0, NAME_ROWS >> 8, NAME_ROWS & 255, 0, 0, NAME_COLUMNS >> 8, NAME_COLUMNS & 255};
    static uint8_t picture[NAME_ROWS * NAME_COLUMNS];
    static NUMBER input[NAME_INPUTS], memory[NAME_MEMORY];
    uint8_t header[16];
    float logits[NAME_OUTPUTS];
    if (fread(header, 1, 16, stdin) != 16 || memcmp(header, magic, 4) || memcmp(header + 8, sides, 8)) {
        fprintf(stderr, "expected an IDX file of pictures of %dx%d bytes, not gzipped\n", NAME_ROWS, NAME_COLUMNS);
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
