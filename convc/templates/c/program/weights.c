/* Weights as safetensors: 8 bytes, the length of a header; the header, JSON that says of each tensor its dtype, its
 * shape, and where its bytes begin and end behind the header; then the bytes, little-endian.
 *
 *     {"conv1.bias":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}, ...}
 *
 * https://huggingface.co/docs/safetensors; Python reads it with safetensors.numpy.load_file, `convc eval` as it is. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "run.h"

enum { LONGEST_HEADER = 100000000 };

/* Takes the blanks out of JSON, in place; those in strings stay. */
static void compact(char *text)
{
    int quoted = 0;
    char *to = text;
    for (const char *from = text; *from; ++from) {
        if (*from == '\\' && from[1])
            *to++ = *from++;
        else if (*from == '"')
            quoted = !quoted;
        else if (!quoted && strchr(" \t\r\n", *from))
            continue;
        *to++ = *from;
    }
    *to = 0;
}

/* What stands behind "key": in an object that begins at `text` and ends with the next brace. */
static const char *member(const char *text, const char *key)
{
    const char *end = strchr(text, '}'), *found = strstr(text, key);
    return found && end && found < end ? found + strlen(key) : "";
}

/* Reads one tensor, whose bytes lie `data` bytes after the beginning of the file or later. */
static void load_tensor(FILE *file, const char *path, const char *header, uint64_t data, const tensor *t)
{
    char key[strlen(t->name) + 5];
    snprintf(key, sizeof key, "\"%s\":{", t->name);
    const char *entry = strstr(header, key);
    if (!entry)
        fail("%s has no %s: take weights of this model", path, t->name);
    entry += strlen(key);
    if (strncmp(member(entry, "\"dtype\":"), "\"F32\"", 5) != 0)
        fail("%s: %s must be F32: convert it before", path, t->name);
    if (strncmp(member(entry, "\"shape\":"), t->shape, strlen(t->shape)) != 0)
        fail("%s: %s must have shape %s: take weights of this model", path, t->name, t->shape);
    uint64_t first, last;
    if (sscanf(member(entry, "\"data_offsets\":"), "[%" SCNu64 ",%" SCNu64 "]", &first, &last) != 2 || last < first ||
        last - first != 4 * (uint64_t)t->elements || first > INT64_MAX - data)
        fail("%s is damaged: %s has not the bytes of its shape", path, t->name);
    if (fseeko(file, (off_t)(data + first), SEEK_SET) || fread(t->data, 4, t->elements, file) != t->elements)
        fail("%s ends before %s does", path, t->name);
    const float *numbers = t->data;
    for (size_t i = 0; i < t->elements; ++i)
        if (!__builtin_isfinite(numbers[i]))
            fail("%s: weights must be finite, and element %zu of %s is not", path, i, t->name);
}

void load_weights(const char *path, const tensor *tensors, int count)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("cannot read %s (%s): start the program in its folder, or give --weights FILE", path, strerror(errno));
    uint64_t length;
    if (fread(&length, 8, 1, file) != 1 || length > LONGEST_HEADER)
        fail("%s is no safetensors file", path);
    char *header = room(length + 1);
    if (fread(header, 1, length, file) != length || header[0] != '{' || strlen(header) != length)
        fail("%s is no safetensors file", path);
    compact(header);
    for (int i = 0; i < count; ++i)
        if (tensors[i].name)
            load_tensor(file, path, header, 8 + length, &tensors[i]);
    free(header);
    fclose(file);
}

/* Writes beside the file first: what it held stays until all is written. */
void save_weights(const char *path, const tensor *tensors, int count)
{
    char partial[strlen(path) + 9];
    snprintf(partial, sizeof partial, "%s.partial", path);
    FILE *file = fopen(partial, "wb");
    if (!file)
        fail("cannot write %s: %s", partial, strerror(errno));
    uint64_t length = 0, end = 0;
    fwrite(&length, 8, 1, file); /* its place; the length is known below */
    const char *separator = "";
    fputc('{', file), ++length;
    for (int i = 0; i < count; ++i) {
        const tensor *t = &tensors[i];
        if (!t->name)
            continue;
        const int written = fprintf(file, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%" PRIu64
                                    ",%" PRIu64 "]}", separator, t->name, t->shape, end, end + 4 * t->elements);
        length += written > 0 ? (uint64_t)written : 0;
        end += 4 * t->elements;
        separator = ",";
    }
    fputc('}', file), ++length;
    for (; length % 8; ++length) /* the bytes begin on a boundary of 8 */
        fputc(' ', file);
    for (int i = 0; i < count; ++i)
        if (tensors[i].name)
            fwrite(tensors[i].data, 4, tensors[i].elements, file);
    rewind(file);
    fwrite(&length, 8, 1, file);
    if (ferror(file) | fclose(file) || rename(partial, path))
        fail("cannot write %s: %s", path, strerror(errno));
}
