/* The tests of one table of tiles. */
void check_rows_of(const convnd_rowwise_tiles *table);
