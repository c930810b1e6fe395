/* json.h - whether a text is JSON, and what stands at a place of it
 *
 * SPDX-License-Identifier: MIT
 *
 * By RFC 8259, and no more than the tests want: the text is UTF-8, and a value is found by the
 * names and indices that lead to it, "targets/0/pid".
 */
#ifndef AMMAP_TESTS_JSON_H
#define AMMAP_TESTS_JSON_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline const char *json_space(const char *at)
{
        return at + strspn(at, " \t\r\n");
}

/* Each returns what comes after it; NULL: it is none. */
static inline const char *json_value(const char *at, unsigned depth);

static inline const char *json_character(const char *at)
{
        const unsigned char c = (unsigned char)*at;
        const unsigned more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : 3;

        if (c < 0x20 || (c >= 0x80 && c < 0xc2) || c > 0xf4)
                return NULL;
        for (unsigned i = 1; i <= more; i++)
                if (((unsigned char)at[i] & 0xc0) != 0x80)
                        return NULL;
        return at + 1 + more;
}

static inline const char *json_string(const char *at)
{
        if (*at++ != '"')
                return NULL;
        while (at && *at != '"') {
                if (*at != '\\')
                        at = json_character(at);
                else if (at[1] == 'u')
                        at = strspn(at + 2, "0123456789abcdefABCDEF") >= 4 ? at + 6 : NULL;
                else
                        at = at[1] && strchr("\"\\/bfnrt", at[1]) ? at + 2 : NULL;
        }
        return at ? at + 1 : NULL;
}

/* Whole ones: there are no others. */
static inline const char *json_number(const char *at)
{
        size_t digits = strspn(at, "0123456789");

        return digits == 0 || (digits > 1 && *at == '0') ? NULL : at + digits;
}

static inline const char *json_members(const char *at, char end, unsigned depth)
{
        at = json_space(at + 1);
        if (*at == end)
                return at + 1;
        for (;;) {
                if (end == '}') {
                        if (!(at = json_string(at)) || *(at = json_space(at)) != ':')
                                return NULL;
                        at = json_space(at + 1);
                }
                if (!(at = json_value(at, depth + 1)))
                        return NULL;
                at = json_space(at);
                if (*at == end)
                        return at + 1;
                if (*at != ',')
                        return NULL;
                at = json_space(at + 1);
        }
}

static inline const char *json_value(const char *at, unsigned depth)
{
        static const char *const words[] = { "true", "false", "null" };

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (strncmp(at, words[i], strlen(words[i])) == 0)
                        return at + strlen(words[i]);
        if (depth > 16)
                return NULL;
        if (*at == '{' || *at == '[')
                return json_members(at, *at == '{' ? '}' : ']', depth);
        return *at == '"' ? json_string(at) : json_number(at);
}

/* One document, and a line's end. */
static inline bool json_is(const char *text)
{
        const char *end = json_value(text, 0);

        return end && strcmp(end, "\n") == 0;
}

/* The value of a name, or at an index, of one of a document that is JSON; NULL. */
static inline const char *json_member(const char *at, const char *name, size_t length)
{
        unsigned long index = strtoul(name, NULL, 10);

        if (*at != '{' && *at != '[')
                return NULL;
        for (const bool named = *at++ == '{'; *at != '}' && *at != ']'; at += *at == ',') {
                bool found = named ? strncmp(at + 1, name, length) == 0 && at[1 + length] == '"' : index-- == 0;

                if (named)
                        at = json_string(at) + 1;
                if (found)
                        return at;
                at = json_value(at, 0);
        }
        return NULL;
}

static inline const char *json_at(const char *text, const char *path)
{
        while (text && *path) {
                size_t length = strcspn(path, "/");

                text = json_member(text, path, length);
                path += length + (path[length] == '/');
        }
        return text;
}

/* Whether exactly that stands there. */
static inline bool json_has(const char *text, const char *path, const char *value)
{
        const char *at = json_at(text, path), *end = at ? json_value(at, 0) : NULL;

        return end && (size_t)(end - at) == strlen(value) && strncmp(at, value, strlen(value)) == 0;
}

#endif
