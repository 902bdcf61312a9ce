/* Winograd's transforms of a tile on one axis, a line, or on the last two, a plane of 6 x 6 frequencies: without the passes'
 * description, which takes as long as a line, and from or to the tile's places without a copy between. Included by
 * winograd.h. */

INLINE int NAME(is_line)(const convnd_winograd_axis *axes) {
    return axes[0].alpha == 1 && axes[1].alpha == 1 && axes[2].alpha == 1;
}
INLINE int NAME(is_plane)(const convnd_winograd_axis *axes) {
    return axes[0].alpha == 1 && axes[1].alpha == 1 && axes[2].alpha == 6 && axes[3].alpha == 6 &&
        axes[2].outputs == axes[3].outputs;
}
/* Whether all elements exist, so many on each of the last two axes. */
INLINE int NAME(is_whole)(const convnd_winograd_args *a, int64_t rows, int64_t columns) {
    return a->from[0] == 0 && a->to[0] == 1 && a->from[1] == 0 && a->to[1] == 1 && a->from[2] == 0 && a->to[2] == rows &&
        a->from[3] == 0 && a->to[3] == columns;
}

INLINE void NAME(line_to_frequencies)(const NAME(transform) what, const int alpha, const int n,
                                      const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args; /* stores may not change it */
    const int length = what == NAME(INTERPOLATE) ? alpha : n;
    const int64_t first[3] = {0}, box[CONVND_WINOGRAD_AXES] = {1, 1, 1, length};
    const int whole = NAME(is_whole)(&a, 1, length);
    for (int64_t c = 0; c < a.channels; c += VL) {
        const real *x = (const real *)a.x + c;
        real *y = (real *)a.y + c, copy[8 * VL];
        int64_t step = a.step[3];
        if (a.asks && c % IN_LINE == 0) NAME(prefetch_next)(args, box, x);
        if (!whole || a.channels - c < VL) {
            const NAME(lines) line = {.clip = args, .length = length, .lanes = a.channels - c};
            x = NAME(clip_line)(&line, first, x, &step, copy);
        }
        if (what == NAME(EVALUATE)) NAME(evaluate)(alpha, n, x, step, y, a.frequency_step);
        else if (alpha == 4) NAME(interpolate4)(x, step, y, a.frequency_step);
        else if (alpha == 8) NAME(interpolate8)(x, step, y, a.frequency_step);
        else NAME(interpolate6)(x, step, y, a.frequency_step);
    }
}
INLINE void NAME(plane_to_frequencies)(const NAME(transform) what, const int n, const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args; /* stores may not change it */
    const int length = what == NAME(INTERPOLATE) ? 6 : n, whole = NAME(is_whole)(&a, length, length);
    real copy[36 * VL];
    for (int64_t c = 0; c < a.channels; c += VL) {
        const real *x = (const real *)a.x + c;
        real *y = (real *)a.y + c;
        int64_t row = a.step[2], step = a.step[3];
        if (!whole || a.channels - c < VL) {
            const NAME(lines) plane = {.clip = args, .length = length, .lanes = a.channels - c};
            x = NAME(clip_plane)(&plane, 0, 0, x, &row, &step, copy);
        }
        if (what == NAME(EVALUATE)) NAME(evaluate6_plane)(n, x, row, step, y, 6 * a.frequency_step, a.frequency_step);
        else NAME(interpolate6_plane)(x, row, step, y, 6 * a.frequency_step, a.frequency_step);
    }
}

INLINE void NAME(line_of_outputs)(const int alpha, const int n, const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args; /* stores may not change it */
    const int64_t rows = a.moments.mean ? a.to[3] - a.from[3] : 0;
    const NAME(joining) by = rows ? NAME(to_join)(rows, a.counted) : (NAME(joining)){0};
    real line[7 * IN_LINE];
    for (int64_t c = 0; c < a.channels; c += VL) {
        const vec start = load((const real *)a.start + c);
        real *out = (real *)a.y + c;
        vec v[8], y[7];
        UNROLL for (int j = 0; j < alpha; j++) v[j] = load((const real *)a.x + c + j * a.frequency_step);
        NAME(collected)(alpha, n, v, y);
        UNROLL for (int k = 0; k < n; k++) {
            if (k < a.from[3] || k >= a.to[3]) continue;
            y[k] = NAME(finish)(y[k] + start, a.activation);
            NAME(put_channels)(out + k * a.step[3], y[k], c, a.channels - c, a.streams, line + k * IN_LINE);
        }
        if (rows) {
            vec near = {0}, sum = {0}, square = {0};
            UNROLL for (int k = 0; k < n; k++)
                if (k >= a.from[3] && k < a.to[3]) near += y[k];
            near *= splat(by.inverse);
            UNROLL for (int k = 0; k < n; k++) {
                if (k < a.from[3] || k >= a.to[3]) continue;
                sum += y[k] - near;
                square += (y[k] - near) * (y[k] - near);
            }
            NAME(join)(&by, &a.moments, c, near, sum, square);
        }
    }
}
INLINE void NAME(plane_of_outputs)(const int n, const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args; /* stores may not change it */
    const int64_t size[CONVND_WINOGRAD_AXES] = {1, 1, n, n}, exist = (a.to[0] - a.from[0]) * (a.to[1] - a.from[1]);
    const int64_t rows = a.moments.mean ? exist * (a.to[2] - a.from[2]) * (a.to[3] - a.from[3]) : 0;
    const NAME(joining) by = rows ? NAME(to_join)(rows, a.counted) : (NAME(joining)){0};
    real result[25 * VL], lines[25 * IN_LINE];
    if (!exist) return;
    for (int64_t c = 0; c < a.channels; c += VL) {
        const vec start = load((const real *)a.start + c);
        real *out = (real *)a.y + c;
        vec of[6][5], v[6], y[5];
        NAME(collect6_rows)(n, (const real *)a.x + c, 6 * a.frequency_step, a.frequency_step, of);
        UNROLL for (int j = 0; j < n; j++) {
            real *to = out;
            ONWARD(out, a.step[3])
            if (j < a.from[3] || j >= a.to[3]) continue;
            UNROLL for (int i = 0; i < 6; i++) v[i] = of[i][j];
            NAME(collected)(6, n, v, y);
            UNROLL for (int i = 0; i < n; i++) {
                if (i >= a.from[2] && i < a.to[2]) {
                    y[i] = NAME(finish)(y[i] + start, a.activation);
                    NAME(put_channels)(to, y[i], c, a.channels - c, a.streams, lines + (i * n + j) * IN_LINE);
                    if (rows) store(result + (i * n + j) * VL, y[i]);
                }
                ONWARD(to, a.step[2])
            }
        }
        if (rows) NAME(count_box)(result, size, rows, &by, &a, c);
    }
}

/* The weight of a line, some rows at a time: without the passes' description, and each frequency scaled as it is made. */
INLINE void NAME(line_weight)(const int alpha, const int n, const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args; /* stores may not change it */
    enum { ROWS = 4 };
    const int64_t row = a.step[2];
    real made[ROWS * 8 * CONVND_MAX_VECTORS * VL];
    for (int64_t k = a.from[0]; k < a.to[0]; k += ROWS) {
        const int64_t rows = a.to[0] - k < ROWS ? a.to[0] - k : ROWS;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < a.channels; c += VL) {
                const real *x = (const real *)a.x + (k + r) * a.step[1] + c;
                vec taps[7], v[8];
                UNROLL for (int t = 0; t < n; t++)
                    taps[t] = a.channels - c < VL ? load_part(x + t * a.step[0], a.channels - c) : load(x + t * a.step[0]);
                NAME(evaluated)(alpha, n, taps, v);
                UNROLL for (int j = 0; j < alpha; j++)
                    store(made + (j * ROWS + r) * row + c, v[j] * NAME(point_scale)(alpha, j));
            }
        UNROLL for (int j = 0; j < alpha; j++) {
            real *y = (real *)a.y + j * a.frequency_step + k * row;
            NAME(weight_rows)(made + j * ROWS * row, y, rows * row, 1, a.streams);
        }
    }
}

/* The transpose for a line. */
INLINE void NAME(line_weight_gradient)(const int alpha, const int n, const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args;
    real lines[7 * IN_LINE];
    for (int64_t k = a.from[0]; k < a.to[0]; k++)
        for (int64_t c = 0; c < a.channels; c += VL) {
            const real *x = (const real *)a.x + k * a.step[2] + c;
            real *y = (real *)a.y + k * a.step[1] + c;
            vec v[8], taps[7];
            UNROLL for (int j = 0; j < alpha; j++) v[j] = load(x + j * a.frequency_step) * NAME(point_scale)(alpha, j);
            NAME(collected)(alpha, n, v, taps);
            UNROLL for (int t = 0; t < n; t++)
                NAME(put_channels)(y + t * a.step[0], taps[t], c, a.channels - c, a.streams, lines + t * IN_LINE);
        }
}
/* And for a plane. */
INLINE void NAME(plane_weight_gradient)(const int n, const convnd_winograd_args *args) {
    const convnd_winograd_args a = *args;
    real lines[25 * IN_LINE];
    for (int64_t k = a.from[0]; k < a.to[0]; k++)
        for (int64_t c = 0; c < a.channels; c += VL) {
            const real *x = (const real *)a.x + k * a.step[2] + c;
            real *y = (real *)a.y + k * a.step[1] + c;
            vec of[6][5], v[6], taps[5];
            UNROLL for (int i = 0; i < 6; i++) {
                UNROLL for (int j = 0; j < 6; j++)
                    v[j] = load(x + (6 * i + j) * a.frequency_step) * splat(NAME(point_scale)(6, j));
                NAME(collected)(6, n, v, of[i]);
            }
            UNROLL for (int j = 0; j < n; j++) {
                UNROLL for (int i = 0; i < 6; i++) v[i] = of[i][j] * splat(NAME(point_scale)(6, i));
                NAME(collected)(6, n, v, taps);
                UNROLL for (int i = 0; i < n; i++) {
                    const int64_t tap = i * n + j;
                    NAME(put_channels)(y + tap * a.step[0], taps[i], c, a.channels - c, a.streams, lines + tap * IN_LINE);
                }
            }
        }
}
