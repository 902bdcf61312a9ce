/* Winograd's convolution along rows, against matrices and plain loops. */
#include "check.h"
#include "points.h"

enum { EIGHT = 8 };

static const convnd_rowwise_tiles *rows; /* those under test */

/* Of `count` tiles: where they begin, further than the one before, and how many of their outputs exist. */
static convnd_rowwise_tile *draw_tiles(int64_t count, int64_t outputs, int64_t x_step, int64_t out_step, int64_t *x_end,
                                       int64_t *out_end) {
    convnd_rowwise_tile *tile = (convnd_rowwise_tile *)guarded(count * (int64_t)sizeof(convnd_rowwise_tile));
    *x_end = *out_end = 0;
    for (int64_t t = 0; t < count; t++) {
        tile[t] = (convnd_rowwise_tile){*x_end + draw(0, 3), *out_end, draw(0, 3) ? outputs : draw(0, outputs)};
        *x_end = tile[t].x + x_step;
        *out_end = tile[t].out + out_step;
    }
    return tile;
}

/* Where a channel's frequency is in a tile. */
static int64_t input_at(int wide, int64_t width, int64_t c, int64_t f) {
    const int64_t vector = tiles->lanes;
    if (!wide) return c * EIGHT + f;
    return rows->turns ? f * width + c : (c / vector * EIGHT + f) * vector + c % vector;
}
/* Where a weight's frequency is in a panel. */
static int64_t weight_at(int64_t alpha, int64_t depth, int64_t d, int64_t f) {
    return (rows->turns ? f * depth + d : d * alpha + f) * rows->lanes;
}

static void check_input(int64_t alpha, int64_t outputs) {
    const int wide = draw(0, 1) == 1;
    const int64_t width = wide ? tiles->lanes * draw(1, 2) : draw(1, 9), count = draw(1, 11);
    const int64_t apart = draw(1, 3), step = draw(1, width), residue = draw(0, apart - 1);
    begin("rowwise: input, %lld frequencies, %lld channels%s", (long long)alpha, (long long)width, wide ? ", wide" : "");
    convnd_rowwise_input args = {.alpha = alpha, .tiles = count, .width = width, .element = apart * step, .apart = apart,
                                 .residue = residue, .step = step, .onward = outputs * apart * step, .wide = wide};
    const int64_t last = residue + count - 1, tile_step = width * EIGHT;
    const int64_t end = last / apart * args.onward + (apart - 1) * step + (alpha - 1) * args.element + width;
    const char *x = numbers(end);
    args.x = x + residue * step * tiles->itemsize;
    args.to = numbers(count * tile_step);
    wanted *want = as_is(args.to, count * tile_step);
    for (int64_t t = 0; t < count; t++)
        for (int64_t c = 0; c < width; c++)
            for (int64_t f = 0; f < EIGHT; f++) {
                const int64_t at = (residue + t) / apart * args.onward + (residue + t) % apart * step + c;
                wanted *to = &want[t * tile_step + input_at(wide, width, c, f)];
                *to = (wanted){0, f < alpha ? 0 : ANY};
                for (int64_t i = 0; f < alpha && i < alpha; i++)
                    add(to, entry(INTERPOLATE, alpha, alpha, f, i) * get(x, at + i * args.element));
            }
    rows->input(&args);
    compare(args.to, want, count * tile_step);
}

static void check_outputs(int64_t alpha, int64_t outputs) {
    const int64_t lanes = rows->lanes, n_runs = draw(1, 3);
    const int wide = draw(0, 1) == 1, streams = lanes * tiles->itemsize % 64 == 0 && draw(0, 2) == 0;
    const int64_t width = wide ? tiles->lanes * draw(1, 2) : draw(1, 5);
    const int64_t count = rows->height[alpha] * draw(1, 9), filters = streams ? lanes : draw(1, lanes);
    const int64_t row = filters + (streams ? 0 : draw(0, 3)), between = draw(1, 2), out_step = between * row;
    int64_t x_end, out_end;
    begin("rowwise: outputs, %lld of %lld frequencies, %lld filters%s", (long long)outputs, (long long)alpha,
          (long long)filters, wide ? ", wide" : "");
    const convnd_rowwise_tile *tile = draw_tiles(count, outputs, width * EIGHT, outputs * out_step, &x_end, &out_end);
    int64_t *runs = (int64_t *)guarded(n_runs * (int64_t)sizeof(int64_t)), runs_end = 0;
    for (int64_t r = 0; r < n_runs; r++) runs_end = most(runs_end, runs[r] = draw(0, 20));
    convnd_rowwise_args args = {.x = numbers(runs_end + x_end), .w = numbers(n_runs * width * alpha * lanes),
                                .start = numbers(lanes), .out = numbers(out_end), .tile = tile, .tiles = count,
                                .out_step = out_step, .runs = runs, .n_runs = n_runs, .width = width, .wide = wide,
                                .lanes = filters, .activation = draw(ACT_NONE, ACT_SOFTPLUS), .streams = streams};
    args.ask = args.x;
    args.ask_end = args.x + draw(0, 500);
    moments m = draw_moments(lanes);
    const int counts = filters == lanes && draw(0, 1);
    m.counted = 0; /* a call's are the first */
    for (int64_t c = 0; c < lanes; c++) {
        put(m.have.mean, c, 0);
        put(m.have.square, c, 0);
        m.mean[c] = m.square[c] = (wanted){0, 0};
    }
    if (counts) args.moments = m.have;
    wanted *want = as_is(args.out, out_end);
    double values[6 * 9 * 7 * 32];
    int64_t counted = 0;
    for (int64_t t = 0; t < count; t++)
        for (int64_t k = 0; k < tile[t].exist; k++)
            for (int64_t c = 0; c < filters; c++) {
                wanted *to = &want[tile[t].out + k * out_step + c];
                *to = (wanted){0, 0};
                add(to, get(args.start, c));
                for (int64_t r = 0; r < n_runs; r++)
                    for (int64_t i = 0; i < width; i++)
                        for (int64_t f = 0; f < alpha; f++) {
                            const int64_t in = input_at(wide, width, i, f);
                            add(to, entry(EVALUATE, alpha, outputs, f, k) * get(args.x, tile[t].x + runs[r] + in) *
                                get(args.w, weight_at(alpha, n_runs * width, r * width + i, f) + c));
                        }
                activate(to, args.activation);
            }
    rows->outputs[alpha][outputs](&args);
    compare(args.out, want, out_end);
    for (int64_t t = 0; t < count; t++)
        for (int64_t k = 0; k < tile[t].exist; k++, counted++)
            for (int64_t c = 0; c < filters; c++)
                values[counted * lanes + c] = get(args.out, tile[t].out + k * out_step + c);
    if (counts) compare_moments(&m, counted, values);
}

static void check_weight_and_back(int64_t alpha, int64_t outputs, int back) {
    const int64_t taps = alpha + 1 - outputs, lanes = rows->lanes, depth = draw(1, 5), columns = draw(1, lanes);
    const int64_t filters = columns + draw(0, 3), tap_step = depth * filters + draw(0, 2), n = depth * alpha * lanes;
    const int64_t n_w = (taps - 1) * tap_step + (depth - 1) * filters + columns;
    begin("rowwise: weight%s, %lld taps, %lld filters", back ? " gradient" : "", (long long)taps, (long long)columns);
    char *w = numbers(n_w), *packed = numbers(n);
    wanted *want = back ? as_is(w, n_w) : as_is(packed, n);
    for (int64_t d = 0; d < depth; d++)
        for (int64_t c = 0; c < lanes; c++) {
            for (int64_t j = 0; back && j < taps && c < columns; j++)
                want[j * tap_step + d * filters + c] = (wanted){0, 0};
            for (int64_t f = 0; f < alpha; f++) {
                const int64_t at = back ? (d * alpha + f) * lanes + c : weight_at(alpha, depth, d, f) + c;
                if (!back) want[at] = (wanted){0, c < columns ? 0 : ANY};
                for (int64_t j = 0; j < taps && c < columns; j++) {
                    const double m = entry(EVALUATE, alpha, taps, f, j) * over_n(alpha, f);
                    const int64_t in_w = j * tap_step + d * filters + c;
                    if (back) add(&want[in_w], m * get(packed, at));
                    else add(&want[at], m * get(w, in_w));
                }
            }
        }
    if (back) rows->weight_gradient(alpha, outputs, packed, depth, filters, tap_step, columns, w);
    else rows->weight(alpha, outputs, w, tap_step, filters, depth, columns, packed);
    if (back) compare(w, want, n_w);
    else compare(packed, want, n);
}

static void check_sums(int64_t alpha, int64_t outputs) {
    const int64_t lanes = rows->lanes, columns = draw(1, lanes), n_rows = draw(1, 40), count = draw(1, 6);
    const int64_t out_step = columns + draw(0, 3);
    int64_t x_end, out_end, rows_end = 0;
    begin("rowwise: sums, %lld of %lld frequencies, %lld rows", (long long)outputs, (long long)alpha, (long long)n_rows);
    const convnd_rowwise_tile *tile = draw_tiles(count + 2, outputs, EIGHT, outputs * out_step, &x_end, &out_end);
    int64_t *places = (int64_t *)guarded(n_rows * (int64_t)sizeof(int64_t));
    for (int64_t r = 0; r < n_rows; r++) rows_end = most(rows_end, places[r] = draw(0, 30));
    const convnd_rowwise_sums args = {
        .x = numbers(rows_end + x_end), .g = numbers(out_end), .frequencies = numbers(count * alpha * lanes),
        .sum = numbers(n_rows * alpha * lanes), .tile = tile, .tiles = count, .out_step = out_step, .rows = places,
        .n_rows = n_rows, .lanes = columns, .next = tile, .next_tiles = draw(0, count + 2), .next_g = numbers(out_end)};
    wanted *want = as_is(args.sum, n_rows * alpha * lanes);
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t f = 0; f < alpha; f++)
            for (int64_t c = 0; c < lanes; c++) {
                wanted *to = &want[(r * alpha + f) * lanes + c];
                *to = (wanted){0, c < columns ? 0 : ANY};
                if (c >= columns) continue;
                add(to, get(args.sum, (r * alpha + f) * lanes + c));
                for (int64_t t = 0; t < count; t++)
                    for (int64_t k = 0; k < tile[t].exist; k++)
                        add(to, entry(EVALUATE, alpha, outputs, f, k) * get(args.g, tile[t].out + k * out_step + c) *
                            get(args.x, tile[t].x + places[r] + f));
            }
    rows->sums[alpha][outputs](&args);
    compare(args.sum, want, n_rows * alpha * lanes);
}

void check_rows_of(const convnd_rowwise_tiles *table) {
    rows = table;
    for (int round = 0; round < 6; round++)
        for (int64_t alpha = 6; alpha <= 8; alpha += 2)
            for (int64_t outputs = alpha - 4; outputs < alpha; outputs++) {
                check_input(alpha, outputs);
                check_outputs(alpha, outputs);
                check_weight_and_back(alpha, outputs, 0);
                check_weight_and_back(alpha, outputs, 1);
                check_sums(alpha, outputs);
            }
}

void check_rowwise(void) { check_rows_of(tiles->rowwise); }
