/* text.c - names that anybody may have chosen, shown so that they do no harm
 *
 * SPDX-License-Identifier: MIT
 */
#include "text.h"

#include <stdbool.h>

/* The character that begins at text, and how many bytes it has; -1: that byte is of none.
 * Long forms, surrogates and what lies beyond Unicode are none. */
static int32_t next(const char *text, unsigned *length)
{
        const unsigned char *at = (const unsigned char *)text;
        const unsigned more = at[0] < 0x80 ? 0 : at[0] < 0xe0 ? 1 : at[0] < 0xf0 ? 2 : 3;
        static const int32_t least[] = { 0, 0x80, 0x800, 0x10000 };
        int32_t c = more ? at[0] & (0x3f >> more) : at[0];

        *length = 1;
        if (at[0] >= 0xf8 || (at[0] >= 0x80 && at[0] < 0xc2))
                return -1;
        for (unsigned i = 1; i <= more; i++) {
                if ((at[i] & 0xc0) != 0x80)
                        return -1;
                c = c << 6 | (at[i] & 0x3f);
        }
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return -1;
        *length = more + 1;
        return c;
}

/* Controls, and what turns the direction of the line, or ends it. */
static bool is_odd(int32_t c)
{
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c >= 0xe0000;
}

void text_plain(FILE *out, const char *text, unsigned columns)
{
        unsigned length = 0, used = 0;

        for (; *text; text += length) {
                const int32_t c = next(text, &length);
                const bool escaped = is_odd(c) || c == '\\';

                used += escaped ? 4 * length : 1;
                if (columns && used > columns) {
                        fputs("...", out);
                        return;
                }
                for (unsigned i = 0; i < length; i++)
                        if (escaped)
                                fprintf(out, "\\x%02x", (unsigned char)text[i]);
                        else
                                fputc(text[i], out);
        }
}

static void put_json(FILE *out, const char *text, unsigned length, int32_t c)
{
        if (c < 0)
                fputs("\\ufffd", out);
        else if (c >= 0x10000)
                fprintf(out, "\\u%04x\\u%04x", 0xd800U + ((uint32_t)(c - 0x10000) >> 10),
                        0xdc00U + ((uint32_t)c & 0x3ff));
        else if (is_odd(c))
                fprintf(out, "\\u%04x", (unsigned)c);
        else
                fprintf(out, "%s%.*s", c == '"' || c == '\\' ? "\\" : "", (int)length, text);
}

void text_json(FILE *out, const char *text)
{
        unsigned length = 0;

        if (!text) {
                fputs("null", out);
                return;
        }
        fputc('"', out);
        for (; *text; text += length) {
                const int32_t c = next(text, &length);

                put_json(out, text, length, c);
        }
        fputc('"', out);
}
