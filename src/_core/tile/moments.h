/* Moments of rows that are counted some at a time, a vector of columns at a time: of each column a centre, the mean's
 * distance from it, and the squared deviations from the mean. Means far from zero keep their digits so.
 *
 * Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983), eq. 2.1. */
typedef struct {
    int64_t counted; /* rows before */
    real rows, inverse; /* that are to join them, and 1 / rows */
    real share, weight;
} NAME(joining);

INLINE NAME(joining) NAME(to_join)(int64_t rows, int64_t counted) {
    const real share = (real)rows / (real)(counted + rows);
    return (NAME(joining)){
        .counted = counted, .rows = (real)rows, .inverse = 1 / (real)rows, .share = share, .weight = share * (real)counted};
}

/* Rows join those before: a number near their mean, and the sums of their differences from it and of these squared. */
INLINE void NAME(join)(const NAME(joining) *by, const convnd_moments *to, int64_t at, vec near, vec sum, vec square) {
    real *centre = (real *)to->centre + at, *mean = (real *)to->mean + at, *squares = (real *)to->square + at;
    const vec off = sum * splat(by->inverse);
    if (by->counted == 0) store(centre, near);
    const vec before = load(mean), apart = (near - load(centre)) + off - before;
    store(mean, before + apart * splat(by->share));
    store(squares, load(squares) + (square - off * sum) + apart * apart * splat(by->weight));
}
