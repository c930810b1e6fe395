/* replay.c - inputs, run without a fuzzer
 *
 * SPDX-License-Identifier: MIT
 *
 *      replay FILE...
 */
#include "input.h"

enum { INPUT_MAX = 1 << 20 };

int main(int argc, char **argv)
{
        uint8_t *bytes = malloc(INPUT_MAX);

        if (!bytes)
                return 1;
        for (int i = 1; i < argc; i++) {
                FILE *file = fopen(argv[i], "rb");
                uint8_t *own;
                size_t size;

                if (!file) {
                        perror(argv[i]);
                        return 1;
                }
                size = fread(bytes, 1, INPUT_MAX, file);
                fclose(file);
                fprintf(stderr, "%s\n", argv[i]);
                /* Of that size, so that whoever reads on is found out. */
                own = malloc(size + !size);
                if (!own)
                        return 1;
                for (size_t j = 0; j < size; j++)
                        own[j] = bytes[j];
                LLVMFuzzerTestOneInput(own, size);
                free(own);
        }
        free(bytes);
        printf("%d inputs\n", argc - 1);
        return argc < 2; /* nothing to run is no success */
}
