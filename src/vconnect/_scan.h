/* What a frame holds, told from its bytes before anything is made of them.

   JSON of n bytes has at most n / 2 values and n levels, so short frames need no look at all. A
   longer one gets a bound first: how many of the characters that begin a value there are, in
   strings or not, in a loop that the compiler vectorizes. Only where the bound is passed are the
   strings told from the rest. */

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define VC_BLOCK 128            /* a counter of 8 bits holds what a block can have */

struct vc_counts {
    ptrdiff_t openings;         /* [ and { */
    ptrdiff_t commas;
    ptrdiff_t colons;
};

struct vc_survey {
    ptrdiff_t values;           /* keys included */
    ptrdiff_t keys;             /* of the object that has the most */
    int is_too_deep;
};

/* Count the characters that begin a value, in strings or not. */
static inline void vc_count(const char *p, ptrdiff_t size, struct vc_counts *counts)
{
    const unsigned char *u = (const unsigned char *)p;
    ptrdiff_t openings = 0, commas = 0, colons = 0, at = 0;
    for (; at + VC_BLOCK <= size; at += VC_BLOCK) {
        uint8_t o = 0, c = 0, k = 0;
        for (int i = 0; i < VC_BLOCK; i++) {
            o += (u[at + i] | 0x20) == '{';  /* both [ and { */
            c += u[at + i] == ',';
            k += u[at + i] == ':';
        }
        openings += o;
        commas += c;
        colons += k;
    }
    for (; at < size; at++) {
        openings += (u[at] | 0x20) == '{';
        commas += u[at] == ',';
        colons += u[at] == ':';
    }
    counts->openings = openings;
    counts->commas = commas;
    counts->colons = colons;
}

/* Return whether two bytes follow each other anywhere in a text; 16 places are looked at at once. */
static inline int vc_has_pair(const char *p, ptrdiff_t size, char first, char second)
{
    typedef unsigned char block __attribute__((vector_size(16)));
    block found = {0}, a, b;
    uint64_t halves[2];
    ptrdiff_t at = 0;
    if (size <= (ptrdiff_t)sizeof(block)) {
        for (; at + 1 < size; at++)
            if (p[at] == first && p[at + 1] == second)
                return 1;
        return 0;
    }
    for (;; at += sizeof(block)) {
        /* The last block may overlap the one before it. */
        if (at + 1 + (ptrdiff_t)sizeof(block) > size)
            at = size - 1 - (ptrdiff_t)sizeof(block);
        memcpy(&a, p + at, sizeof a);
        memcpy(&b, p + at + 1, sizeof b);
        found |= (block)(a == (unsigned char)first) & (block)(b == (unsigned char)second);
        if (at + 1 + (ptrdiff_t)sizeof(block) == size)
            break;
    }
    memcpy(halves, &found, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

/* Return where a string ends that begins at `at`: behind its closing quote. */
static inline ptrdiff_t vc_string_end(const char *p, ptrdiff_t size, ptrdiff_t at)
{
    ptrdiff_t begin = ++at, first;
    /* Most strings are short. In a long one the C library looks at many bytes at a time. */
    for (ptrdiff_t near = begin + 16; at < near; at++) {
        if (at >= size || p[at] == '"')
            return at + 1;
        at += p[at] == '\\';
    }
    for (begin = at; at < size; at++) {
        const char *quote = memchr(p + at, '"', (size_t)(size - at));
        if (quote == NULL)
            break;
        at = quote - p;
        for (first = at; first > begin && p[first - 1] == '\\'; first--)
            ;
        if ((at - first) % 2 == 0)  /* else the quote itself is escaped */
            return at + 1;
    }
    return size + 1;
}

static inline int vc_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Count exactly. Of what is not JSON, it returns some numbers; the parser will refuse it. */
static inline void vc_look(const char *p, ptrdiff_t size, int max_levels, struct vc_survey *found)
{
    enum { STACK = 256 };
    ptrdiff_t keys[STACK], at = 0, next;
    int level = 0;
    memset(found, 0, sizeof *found);
    keys[0] = 0;
    found->values = 1;
    while (at < size) {
        char c = p[at];
        if (c == '"') {
            at = vc_string_end(p, size, at);
            continue;
        }
        at++;
        if (c == '[' || c == '{') {
            if (++level > max_levels || level >= STACK) {
                found->is_too_deep = 1;
                return;
            }
            keys[level] = 0;
            for (next = at; next < size && vc_is_space(p[next]); next++)
                ;
            /* Its first member; an empty one has none. */
            found->values += next < size && p[next] != ']' && p[next] != '}';
        } else if (c == ']' || c == '}') {
            level -= level > 0;
        } else if (c == ',') {
            found->values++;
        } else if (c == ':') {
            found->values++;
            if (++keys[level] > found->keys)
                found->keys = keys[level];
        }
    }
}

/* What a reply begins with, whatever else is in it. */
struct vc_address {
    uint64_t id;                /* 0: none, or not a positive integer */
    int has_status;
};

static inline int vc_is_key(const char *p, ptrdiff_t size, const char *key)
{
    ptrdiff_t length = (ptrdiff_t)strlen(key);
    return size == length + 2 && memcmp(p + 1, key, (size_t)length) == 0;
}

/* Read the number of a reply without its data: the keys "id" and "status" of the outermost object.
   A key with escapes in it is not recognized, nor is a number that is not a positive integer. */
static inline void vc_read_address(const char *p, ptrdiff_t size, struct vc_address *found)
{
    ptrdiff_t at = 0, end;
    int level = 0;
    memset(found, 0, sizeof *found);
    while (at < size) {
        char c = p[at];
        if (c != '"') {
            level += (c | 0x20) == '{';
            level -= (c | 0x20) == '}';
            at++;
            continue;
        }
        end = vc_string_end(p, size, at);
        if (level == 1 && end <= size) {
            int is_id = vc_is_key(p + at, end - at, "id");
            int is_status = vc_is_key(p + at, end - at, "status");
            ptrdiff_t value = end;
            while (value < size && vc_is_space(p[value]))
                value++;
            if ((is_id || is_status) && value < size && p[value] == ':') {
                found->has_status |= is_status;
                for (value++; value < size && vc_is_space(p[value]); value++)
                    ;
                if (is_id)
                    found->id = 0;
                for (int digits = 0; is_id && value < size && digits < 19; value++, digits++) {
                    if (p[value] < '0' || p[value] > '9')
                        break;
                    found->id = found->id * 10 + (uint64_t)(p[value] - '0');
                }
                if (is_id && value < size && memchr("0123456789.eE", p[value], 13))
                    found->id = 0;
            }
        }
        at = end;
    }
}

/* Return whether a string of the frame is written with \uXXXX, by which a key can be disguised. */
static inline int vc_has_spelled_letter(const char *p, ptrdiff_t size)
{
    const char *end = p + size, *at = p;
    while (at < end && (at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        if (at + 1 < end && at[1] == 'u')
            return 1;
        at += 2;
    }
    return 0;
}

/* Return whether a frame may have the key "status", anywhere in it. */
static inline int vc_may_have_status(const char *p, ptrdiff_t size)
{
    ptrdiff_t at = 1;
    /* Most replies begin with it, or with their number. */
    if (size > 6 && memcmp(p, "{\"id\":", 6) == 0) {
        for (at = 6; at < size && p[at] >= '0' && p[at] <= '9'; at++)
            ;
        at++;
    }
    if (size - at >= 8 && memcmp(p + at, "\"status\"", 8) == 0)
        return 1;
    return memmem(p, (size_t)size, "\"status\"", 8) != NULL || vc_has_spelled_letter(p, size);
}
