/* Winograd's minimal filtering in N dimensions: transforms of a tile along each axis, lanes along channels. */
#include "activation.h"
#include "moments.h"
#include "winograd_points.h"
#include "winograd_product.h"

/* Lines along one axis, or planes along the last two, for each of the other axes' elements. */
typedef struct {
    const real *from;
    real *to;
    int64_t count[CONVND_WINOGRAD_AXES - 1];
    int64_t from_next[CONVND_WINOGRAD_AXES - 1], to_next[CONVND_WINOGRAD_AXES - 1];
    int64_t from_step, to_step; /* along the line, or a plane's rows */
    int64_t from_row, to_row;   /* from row to row of a plane */
    const convnd_winograd_args *clip; /* NULL, or the tile whose elements don't all exist; the lines are along its last axis */
    int64_t length, lanes;
} NAME(lines);

/* A line whose elements don't all exist, side by side in `copy`, with zeros where there is nothing. A vector that ends
 * within x is read whole: what lies in lanes beyond the channels is never used. */
SLOW const real *NAME(clip_line)(const NAME(lines) *a, const int64_t *at, const real *line, int64_t *step, real *copy) {
    const convnd_winograd_args *tile = a->clip;
    int64_t first = tile->from[3], last = tile->to[3];
    for (int64_t b = 0; b < 3; b++)
        if (at[b] < tile->from[b] || at[b] >= tile->to[b]) first = last = 0;
    const int read_part = a->lanes < VL && (const char *)(line + (last - 1) * *step + VL) > tile->x_end;
    if (first == 0 && last == a->length && !read_part) return line;
    for (int64_t k = 0; k < a->length; k++) {
        const real *p = line + k * *step;
        if (k < first || k >= last) store(copy + k * VL, (vec){0});
        else store(copy + k * VL, read_part ? load_part(p, a->lanes) : load(p));
    }
    *step = VL;
    return copy;
}

/* A plane, the same way: `length` rows as long. */
SLOW const real *NAME(clip_plane)(const NAME(lines) *a, int64_t h, int64_t i, const real *plane, int64_t *row, int64_t *step,
                                 real *copy) {
    const convnd_winograd_args *tile = a->clip;
    const int none = h < tile->from[0] || h >= tile->to[0] || i < tile->from[1] || i >= tile->to[1];
    for (int64_t j = 0; j < a->length; j++) {
        const int empty = none || j < tile->from[2] || j >= tile->to[2];
        const int64_t first = empty ? a->length : tile->from[3], last = empty ? a->length : tile->to[3];
        const real *p = plane + j * *row;
        real *to = copy + j * a->length * VL;
        for (int64_t k = 0; k < first; k++) store(to + k * VL, (vec){0});
        if (a->lanes < VL && first < last && (const char *)(p + (last - 1) * *step + VL) > tile->x_end)
            for (int64_t k = first; k < last; k++) store(to + k * VL, load_part(p + k * *step, a->lanes));
        else
            for (int64_t k = first; k < last; k++) store(to + k * VL, load(p + k * *step));
        for (int64_t k = last; k < a->length; k++) store(to + k * VL, (vec){0});
    }
    *row = a->length * VL;
    *step = VL;
    return copy;
}

/* The description is copied: stores may not change it. */
#define EACH_PLANE(PLANE) { \
    const NAME(lines) l = *a; \
    const int64_t t_row = l.to_row, t_col = l.to_step; \
    real copy[36 * VL]; \
    for (int64_t h = 0; h < l.count[0]; h++) \
        for (int64_t i = 0; i < l.count[1]; i++) { \
            const real *f = l.from + h * l.from_next[0] + i * l.from_next[1]; \
            real *t = l.to + h * l.to_next[0] + i * l.to_next[1]; \
            int64_t f_row = l.from_row, f_col = l.from_step; \
            if (l.clip) f = NAME(clip_plane)(a, h, i, f, &f_row, &f_col, copy); \
            PLANE; \
        } \
    }
SLOW void NAME(interpolate_planes)(const NAME(lines) *a) {
    EACH_PLANE(NAME(interpolate6_plane)(f, f_row, f_col, t, t_row, t_col))
}
#define EACH_OUTPUT(F) F(2) F(3) F(4) F(5)
SLOW void NAME(evaluate_planes)(int64_t n, const NAME(lines) *a) {
#define CASE(N) if (n == N) { EACH_PLANE(NAME(evaluate6_plane)(N, f, f_row, f_col, t, t_row, t_col)) }
    EACH_OUTPUT(CASE)
#undef CASE
}
SLOW void NAME(collect_planes)(int64_t n, const NAME(lines) *a) {
#define CASE(N) if (n == N) { EACH_PLANE(NAME(collect6_plane)(N, f, f_row, f_col, t, t_row, t_col)) }
    EACH_OUTPUT(CASE)
#undef CASE
}
#undef EACH_PLANE

/* And so it is here. */
#define EACH_LINE(EACH) { \
    const NAME(lines) l = *a; \
    const int64_t t_step = l.to_step; \
    real copy[8 * VL]; \
    for (int64_t h = 0; h < l.count[0]; h++) \
        for (int64_t i = 0; i < l.count[1]; i++) { \
            const real *from = l.from + h * l.from_next[0] + i * l.from_next[1]; \
            real *t = l.to + h * l.to_next[0] + i * l.to_next[1]; \
            if (l.clip) \
                for (int64_t j = 0; j < l.count[2]; j++, from += l.from_next[2], t += l.to_next[2]) { \
                    const int64_t at[3] = {h, i, j}; \
                    int64_t f_step = l.from_step; \
                    const real *f = NAME(clip_line)(a, at, from, &f_step, copy); \
                    EACH; \
                } \
            else { \
                const int64_t f_step = l.from_step; \
                for (int64_t j = 0; j < l.count[2]; j++, from += l.from_next[2], t += l.to_next[2]) { \
                    const real *f = from; \
                    EACH; \
                } \
            } \
        } \
    }
#define EACH_TRANSFORM(F) F(4, 2) F(4, 3) F(6, 2) F(6, 3) F(6, 4) F(6, 5) F(8, 2) F(8, 3) F(8, 4) F(8, 5) F(8, 6) F(8, 7)

SLOW void NAME(interpolate_lines)(int64_t alpha, const NAME(lines) *a) {
    if (alpha == 4) { EACH_LINE(NAME(interpolate4)(f, f_step, t, t_step)) }
    else if (alpha == 8) { EACH_LINE(NAME(interpolate8)(f, f_step, t, t_step)) }
    else { EACH_LINE(NAME(interpolate6)(f, f_step, t, t_step)) }
}
SLOW void NAME(evaluate_lines)(int64_t alpha, int64_t n, const NAME(lines) *a) {
#define CASE(A, N) if (alpha == A && n == N) { EACH_LINE(NAME(evaluate)(A, N, f, f_step, t, t_step)) }
    EACH_TRANSFORM(CASE)
#undef CASE
}
SLOW void NAME(collect_lines)(int64_t alpha, int64_t n, const NAME(lines) *a) {
#define CASE(A, N) if (alpha == A && n == N) { EACH_LINE(NAME(collect)(A, N, f, f_step, t, t_step)) }
    EACH_TRANSFORM(CASE)
#undef CASE
}
#undef EACH_LINE

typedef enum { NAME(INTERPOLATE), NAME(EVALUATE), NAME(COLLECT) } NAME(transform);

/* The steps of a packed box of `size` elements that are `unit` apart. */
INLINE void NAME(pack_steps)(int64_t *step, const int64_t *size, int64_t unit) {
    for (int64_t a = CONVND_WINOGRAD_AXES - 1; a >= 0; a--) {
        step[a] = unit;
        unit *= size[a];
    }
}
INLINE void NAME(box_size)(int64_t *size, const convnd_winograd_axis *axes, const int64_t member) {
    for (int64_t a = 0; a < CONVND_WINOGRAD_AXES; a++) size[a] = ((const int64_t *)&axes[a])[member];
}
enum { NAME(ALPHA), NAME(OUTPUTS), NAME(TAPS) }; /* members of convnd_winograd_axis, in their order */

/* The passes of a transform, one for each axis, the last axis first; but one for the last two if they are alike and have six
 * frequencies. */
typedef struct {
    int64_t n;
    int plane; /* the first pass is one */
    NAME(transform) what;
    int64_t alpha[CONVND_WINOGRAD_AXES], shorter[CONVND_WINOGRAD_AXES];
    NAME(lines) lines[CONVND_WINOGRAD_AXES];
    real between[2][CONVND_WINOGRAD_MOST * VL];
} NAME(passes);

/* From an array of vectors with these steps along the axes to another. `member` has the lengths that aren't alpha. */
SLOW void NAME(prepare)(NAME(passes) *p, NAME(transform) what, const convnd_winograd_axis *axes, int64_t member,
                        const int64_t *from, const int64_t *to) {
    int64_t last = 0, size[CONVND_WINOGRAD_AXES], n[CONVND_WINOGRAD_AXES], steps[2][CONVND_WINOGRAD_AXES];
    NAME(box_size)(n, axes, member);
    NAME(box_size)(size, axes, what == NAME(EVALUATE) ? member : NAME(ALPHA));
    while (axes[last].alpha == 1) last++; /* the pass that writes the result */
    p->n = 0;
    p->what = what;
    p->plane = axes[2].alpha == 6 && axes[3].alpha == 6 && n[2] == n[3];
    for (int64_t a = CONVND_WINOGRAD_AXES - 1; a >= last; a--) {
        if (axes[a].alpha == 1) continue;
        NAME(lines) *lines = &p->lines[p->n];
        lines->clip = NULL;
        lines->length = size[a];
        for (int64_t b = 0, i = 0; b < CONVND_WINOGRAD_AXES; b++)
            if (b != a) lines->count[i++] = size[b];
        size[a] = what == NAME(COLLECT) ? n[a] : axes[a].alpha;
        if (p->plane && a == 3) { /* the other axis of it, beside what goes for lines */
            size[--a] = size[3];
            lines->from_row = from[2];
        }
        const int64_t *next = a == last ? to : steps[p->n & 1];
        if (a != last) NAME(pack_steps)(steps[p->n & 1], size, VL);
        const int64_t along = p->plane && a == 2 ? 3 : a;
        for (int64_t b = 0, i = 0; b < CONVND_WINOGRAD_AXES; b++)
            if (b != along) lines->from_next[i] = from[b], lines->to_next[i++] = next[b];
        lines->from_step = from[along], lines->to_step = next[along], lines->to_row = next[2];
        if (p->n) lines->from = p->between[(p->n - 1) & 1];
        lines->to = p->between[p->n & 1];
        p->alpha[p->n] = axes[a].alpha, p->shorter[p->n] = n[a];
        p->n++;
        from = next;
    }
}

/* One vector of channels. `clip` is the tile, if not all of its elements exist, or not all of the vector's channels. */
INLINE void NAME(run)(NAME(passes) *p, const real *from, real *to, const convnd_winograd_args *clip, int64_t lanes) {
    p->lines[0].from = from;
    p->lines[0].clip = clip;
    p->lines[0].lanes = lanes;
    p->lines[p->n - 1].to = to;
    if (p->plane && p->what == NAME(INTERPOLATE)) NAME(interpolate_planes)(&p->lines[0]);
    else if (p->plane && p->what == NAME(EVALUATE)) NAME(evaluate_planes)(p->shorter[0], &p->lines[0]);
    else if (p->plane) NAME(collect_planes)(p->shorter[0], &p->lines[0]);
    for (int64_t i = p->plane; i < p->n; i++)
        if (p->what == NAME(INTERPOLATE)) NAME(interpolate_lines)(p->alpha[i], &p->lines[i]);
        else if (p->what == NAME(EVALUATE)) NAME(evaluate_lines)(p->alpha[i], p->shorter[i], &p->lines[i]);
        else NAME(collect_lines)(p->alpha[i], p->shorter[i], &p->lines[i]);
}

/* Ask for one line of channels of what the next tile of the row reads, and this one doesn't. */
INLINE void NAME(prefetch_next)(const convnd_winograd_args *a, const int64_t *size, const real *x) {
    for (int64_t h = 0; h < size[0]; h++)
        for (int64_t i = 0; i < size[1]; i++)
            for (int64_t j = 0; j < size[2]; j++) {
                const real *row = x + h * a->step[0] + i * a->step[1] + j * a->step[2] + size[3] * a->step[3];
                for (int64_t k = 0; k < a->axes[3].outputs; k++) __builtin_prefetch(row + k * a->step[3]);
            }
}

INLINE void NAME(to_frequencies)(const NAME(transform) what, const convnd_winograd_args *a) {
    int64_t size[CONVND_WINOGRAD_AXES], alpha[CONVND_WINOGRAD_AXES], step[CONVND_WINOGRAD_AXES];
    NAME(passes) passes;
    NAME(box_size)(size, a->axes, what == NAME(INTERPOLATE) ? NAME(ALPHA) : NAME(OUTPUTS));
    NAME(box_size)(alpha, a->axes, NAME(ALPHA));
    NAME(pack_steps)(step, alpha, a->frequency_step);
    NAME(prepare)(&passes, what, a->axes, NAME(OUTPUTS), a->step, step);
    int whole = 1;
    for (int64_t i = 0; i < CONVND_WINOGRAD_AXES; i++) whole &= a->from[i] == 0 && a->to[i] == size[i];
    for (int64_t c = 0; c < a->channels; c += VL) {
        const int64_t lanes = a->channels - c;
        const real *x = (const real *)a->x + c;
        if (a->asks && c % IN_LINE == 0) NAME(prefetch_next)(a, size, x);
        NAME(run)(&passes, x, (real *)a->y + c, whole && lanes >= VL ? NULL : a, lanes);
    }
}

/* Whole lines past the caches: the vectors before wait in `line` until the one at channel c fills it. */
INLINE void NAME(stream_line)(real *out, vec y, int64_t c, real *line) {
    const int64_t at = c % IN_LINE;
    if (at + VL < IN_LINE) {
        store(line + at, y);
        return;
    }
    UNROLL for (int64_t i = 0; i < IN_LINE - VL; i += VL) stream(out - (IN_LINE - VL) + i, load(line + i));
    stream(out, y);
}
/* A vector at channel c to its place, of which `lanes` exist. */
INLINE void NAME(put_channels)(real *out, vec y, int64_t c, int64_t lanes, int64_t streams, real *line) {
    if (streams) NAME(stream_line)(out, y, c, line);
    else if (lanes >= VL) store(out, y);
    else store_part(out, y, lanes);
}
INLINE int64_t NAME(product)(const int64_t *size) { return size[0] * size[1] * size[2] * size[3]; }

/* The moments of a vector of a tile's outputs, which lie side by side, those that don't exist as well. */
INLINE void NAME(count_box)(const real *y, const int64_t *size, int64_t rows, const NAME(joining) *by,
                            const convnd_winograd_args *a, int64_t c) {
    vec near = {0}, sum[4] = {{0}}, square[4] = {{0}};
    if (rows == NAME(product)(size) && rows % 4 == 0) {
        for (int64_t r = 0; r < rows; r += 4)
            UNROLL for (int i = 0; i < 4; i++) sum[i] += load(y + (r + i) * VL);
        near = ((sum[0] + sum[1]) + (sum[2] + sum[3])) * splat(by->inverse);
        UNROLL for (int i = 0; i < 4; i++) sum[i] = (vec){0};
        for (int64_t r = 0; r < rows; r += 4)
            UNROLL for (int i = 0; i < 4; i++) {
                const vec d = load(y + (r + i) * VL) - near;
                sum[i] += d;
                square[i] += d * d;
            }
    } else {
#define EACH(...) \
    for (int64_t h = a->from[0]; h < a->to[0]; h++) \
        for (int64_t i = a->from[1]; i < a->to[1]; i++) \
            for (int64_t j = a->from[2]; j < a->to[2]; j++) { \
                const real *row = y + (((h * size[1] + i) * size[2]) + j) * size[3] * VL; \
                for (int64_t k = a->from[3]; k < a->to[3]; k++) __VA_ARGS__ \
            }
        EACH({ near += load(row + k * VL); })
        near *= splat(by->inverse);
        EACH({
            const vec d = load(row + k * VL) - near;
            sum[0] += d;
            square[0] += d * d;
        })
#undef EACH
    }
    NAME(join)(by, &a->moments, c, near, (sum[0] + sum[1]) + (sum[2] + sum[3]),
               (square[0] + square[1]) + (square[2] + square[3]));
}

/* A frequency's rows of vectors to where they belong. */
INLINE void NAME(weight_rows)(const real *x, real *y, int64_t n, real scale, int64_t streams) {
    const vec by = splat(scale);
    if (streams)
        for (int64_t j = 0; j < n; j += VL) stream(y + j, load(x + j) * by);
    else
        for (int64_t j = 0; j < n; j += VL) store(y + j, load(x + j) * by);
}
#include "winograd_flat.h"

/* A tile of the input, or of the output's gradient, to its frequencies; vectors are stored whole. */
static void NAME(winograd_input)(const convnd_winograd_args *a) {
    if (NAME(is_plane)(a->axes)) NAME(plane_to_frequencies)(NAME(INTERPOLATE), 0, a);
    else if (!NAME(is_line)(a->axes)) NAME(to_frequencies)(NAME(INTERPOLATE), a);
    else if (a->axes[3].alpha == 4) NAME(line_to_frequencies)(NAME(INTERPOLATE), 4, 0, a);
    else if (a->axes[3].alpha == 8) NAME(line_to_frequencies)(NAME(INTERPOLATE), 8, 0, a);
    else NAME(line_to_frequencies)(NAME(INTERPOLATE), 6, 0, a);
}
static void NAME(winograd_gradient)(const convnd_winograd_args *a) {
    if (NAME(is_plane)(a->axes)) {
#define CASE(N) if (a->axes[3].outputs == N) NAME(plane_to_frequencies)(NAME(EVALUATE), N, a);
        EACH_OUTPUT(CASE)
#undef CASE
    } else if (!NAME(is_line)(a->axes)) NAME(to_frequencies)(NAME(EVALUATE), a);
#define CASE(A, N) else if (a->axes[3].alpha == A && a->axes[3].outputs == N) NAME(line_to_frequencies)(NAME(EVALUATE), A, N, a);
    EACH_TRANSFORM(CASE)
#undef CASE
}

/* The frequencies of a tile to its outputs. */
static void NAME(winograd_output)(const convnd_winograd_args *args) {
    if (NAME(is_plane)(args->axes)) {
#define CASE(N) if (args->axes[3].outputs == N) NAME(plane_of_outputs)(N, args);
        EACH_OUTPUT(CASE)
#undef CASE
        return;
    }
    if (NAME(is_line)(args->axes)) {
        if (args->to[0] * args->to[1] * args->to[2] == 0) return;
#define CASE(A, N) if (args->axes[3].alpha == A && args->axes[3].outputs == N) NAME(line_of_outputs)(A, N, args);
        EACH_TRANSFORM(CASE)
#undef CASE
        return;
    }
    const convnd_winograd_args a = *args; /* stores may not change it */
    real result[CONVND_WINOGRAD_MOST * VL], lines[CONVND_WINOGRAD_MOST * IN_LINE];
    int64_t size[CONVND_WINOGRAD_AXES], alpha[CONVND_WINOGRAD_AXES], from[CONVND_WINOGRAD_AXES], to[CONVND_WINOGRAD_AXES];
    NAME(passes) passes;
    NAME(box_size)(size, a.axes, NAME(OUTPUTS));
    NAME(box_size)(alpha, a.axes, NAME(ALPHA));
    NAME(pack_steps)(from, alpha, a.frequency_step);
    NAME(pack_steps)(to, size, VL);
    NAME(prepare)(&passes, NAME(COLLECT), a.axes, NAME(OUTPUTS), from, to);
    int64_t rows = a.moments.mean != NULL;
    for (int64_t i = 0; i < CONVND_WINOGRAD_AXES; i++) rows *= a.to[i] - a.from[i];
    const NAME(joining) by = rows ? NAME(to_join)(rows, a.counted) : (NAME(joining)){0};
    for (int64_t c = 0; c < a.channels; c += VL) {
        const int64_t lanes = a.channels - c;
        NAME(run)(&passes, (const real *)a.x + c, result, NULL, VL);
        const vec start = load((const real *)a.start + c);
        for (int64_t h = a.from[0]; h < a.to[0]; h++)
            for (int64_t i = a.from[1]; i < a.to[1]; i++)
                for (int64_t j = a.from[2]; j < a.to[2]; j++) {
                    real *row = result + h * to[0] + i * to[1] + j * to[2];
                    real *out = (real *)a.y + c + h * a.step[0] + i * a.step[1] + j * a.step[2];
                    for (int64_t k = a.from[3]; k < a.to[3]; k++) {
                        const vec y = NAME(finish)(load(row + k * VL) + start, a.activation);
                        real *line = lines + (row - result + k * VL) / VL * IN_LINE;
                        NAME(put_channels)(out + k * a.step[3], y, c, lanes, a.streams, line);
                        if (a.moments.mean) store(row + k * VL, y);
                    }
                }
        if (rows) NAME(count_box)(result, size, rows, &by, &a, c);
    }
}

/* 1 / N_i for frequency number `index`, the product over axes. */
INLINE real NAME(frequency_scale)(const convnd_winograd_axis *axes, int64_t index) {
    real scale = 1;
    for (int64_t i = CONVND_WINOGRAD_AXES - 1; i >= 0; i--) {
        const int64_t alpha = axes[i].alpha;
        if (alpha > 1) scale *= NAME(point_scale)(alpha, index % alpha);
        index /= alpha;
    }
    return scale;
}
/* Those of all frequencies; returns how many. */
INLINE int64_t NAME(frequency_scales)(const convnd_winograd_axis *axes, real *scale) {
    int64_t n = 1;
    for (int64_t i = 0; i < CONVND_WINOGRAD_AXES; i++) n *= axes[i].alpha;
    for (int64_t i = 0; i < n; i++) scale[i] = NAME(frequency_scale)(axes, i);
    return n;
}

/* All taps, step[0] apart, of input channels from[0] ... to[0] - 1 and of `channels` filters to their frequencies; zeros
 * for the rest of a vector. From one input channel to the next it is step[1] in x and step[2] in y: a row of vectors.
 *
 * Frequencies often lie a power of two apart, where a cache keeps few of them: rows are made side by side first. */
static void NAME(winograd_weight)(const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args; /* stores may not change it */
    if (NAME(is_line)(a.axes)) {
#define CASE(A, N) if (a.axes[3].alpha == A && a.axes[3].taps == N) NAME(line_weight)(A, N, args);
        EACH_TRANSFORM(CASE)
#undef CASE
        return;
    }
    enum { ROOM = CONVND_WINOGRAD_MOST * CONVND_MAX_VECTORS * VL };
    real copy[CONVND_WINOGRAD_MOST * VL], scale[CONVND_WINOGRAD_MOST], made[ROOM];
    int64_t taps[CONVND_WINOGRAD_AXES], alpha[CONVND_WINOGRAD_AXES], from[CONVND_WINOGRAD_AXES], to[CONVND_WINOGRAD_AXES];
    NAME(passes) passes;
    NAME(box_size)(taps, a.axes, NAME(TAPS));
    NAME(box_size)(alpha, a.axes, NAME(ALPHA));
    const int64_t n_taps = NAME(product)(taps), n = NAME(frequency_scales)(a.axes, scale), row = a.step[2];
    const int64_t most = ROOM / (n * row) < a.to[0] - a.from[0] ? ROOM / (n * row) : a.to[0] - a.from[0];
    NAME(pack_steps)(from, taps, VL);
    NAME(pack_steps)(to, alpha, most * row);
    NAME(prepare)(&passes, NAME(EVALUATE), a.axes, NAME(TAPS), from, to);
    for (int64_t k = a.from[0]; k < a.to[0]; k += most) {
        const int64_t rows = a.to[0] - k < most ? a.to[0] - k : most;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < a.channels; c += VL) {
                const real *x = (const real *)a.x + (k + r) * a.step[1] + c;
                if (NAME(is_plane)(a.axes) && a.channels - c >= VL) {
                    real *y = made + r * row + c;
#define CASE(N) if (taps[3] == N) NAME(evaluate6_plane)(N, x, N * a.step[0], a.step[0], y, 6 * most * row, most * row);
                    EACH_OUTPUT(CASE)
#undef CASE
                    continue;
                }
                if (a.channels - c >= VL)
                    for (int64_t t = 0; t < n_taps; t++) store(copy + t * VL, load(x + t * a.step[0]));
                else
                    for (int64_t t = 0; t < n_taps; t++)
                        store(copy + t * VL, load_part(x + t * a.step[0], a.channels - c));
                NAME(run)(&passes, copy, made + r * row + c, NULL, VL);
            }
        for (int64_t i = 0; i < n; i++) {
            real *y = (real *)a.y + i * a.frequency_step + k * row;
            NAME(weight_rows)(made + i * most * row, y, rows * row, scale[i], a.streams);
        }
    }
}
/* The transpose: the gradient's frequencies to its taps; step[1] is y's and step[2] is x's. */
static void NAME(winograd_weight_gradient)(const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args;
    if (NAME(is_line)(a.axes)) {
#define CASE(A, N) if (a.axes[3].alpha == A && a.axes[3].taps == N) NAME(line_weight_gradient)(A, N, args);
        EACH_TRANSFORM(CASE)
#undef CASE
        return;
    }
    if (NAME(is_plane)(a.axes)) {
#define CASE(N) if (a.axes[3].taps == N) NAME(plane_weight_gradient)(N, args);
        EACH_OUTPUT(CASE)
#undef CASE
        return;
    }
    real copy[CONVND_WINOGRAD_MOST * VL], result[CONVND_WINOGRAD_MOST * VL], scale[CONVND_WINOGRAD_MOST];
    real lines[CONVND_WINOGRAD_MOST * IN_LINE];
    int64_t taps[CONVND_WINOGRAD_AXES], alpha[CONVND_WINOGRAD_AXES], from[CONVND_WINOGRAD_AXES], to[CONVND_WINOGRAD_AXES];
    NAME(passes) passes;
    NAME(box_size)(taps, a.axes, NAME(TAPS));
    NAME(box_size)(alpha, a.axes, NAME(ALPHA));
    NAME(pack_steps)(from, alpha, VL);
    NAME(pack_steps)(to, taps, VL);
    NAME(prepare)(&passes, NAME(COLLECT), a.axes, NAME(TAPS), from, to);
    const int64_t n_taps = NAME(product)(taps), n = NAME(frequency_scales)(a.axes, scale);
    for (int64_t k = a.from[0]; k < a.to[0]; k++)
        for (int64_t c = 0; c < a.channels; c += VL) {
            const real *x = (const real *)a.x + k * a.step[2] + c;
            real *y = (real *)a.y + k * a.step[1] + c;
            for (int64_t i = 0; i < n; i++) store(copy + i * VL, load(x + i * a.frequency_step) * splat(scale[i]));
            NAME(run)(&passes, copy, result, NULL, VL);
            for (int64_t t = 0; t < n_taps; t++)
                NAME(put_channels)(y + t * a.step[0], load(result + t * VL), c, a.channels - c, a.streams, lines + t * IN_LINE);
        }
}

const convnd_winograd_tiles NAME(convnd_winograd_tiles) = {
    .input = NAME(winograd_input), .gradient = NAME(winograd_gradient), .output = NAME(winograd_output),
    .weight = NAME(winograd_weight), .weight_gradient = NAME(winograd_weight_gradient),
    .multiply = {NULL, NAME(multiply_1), NAME(multiply_2), NULL, MULTIPLY_4}, .any_count = {ANY_COUNT}};
#undef EACH_TRANSFORM
#undef EACH_OUTPUT
#undef MULTIPLY_4
#undef ANY_COUNT
