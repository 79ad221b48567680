// Dense linear algebra in double precision for the measures of lib/analysis, by Eigen (https://eigen.tuxfamily.org, MPL2). All
// matrices are row-major. One thread and one code path on every processor: the same input gives the same bits.
#pragma once
#include <cstdint>

namespace hk::linalg {

// matrix [n, n] = vectors' diag(values) vectors: values [n] descending, row i of vectors [n, n] is the unit eigenvector of value i.
// Throws HK_ARGUMENT when the matrix is not symmetric (to 1e-9 of its largest value), HK_INTERNAL when the iteration does not
// converge.
void symmetric_eigen(const double* matrix, int64_t n, double* values, double* vectors);

// matrix [rows, columns] = u diag(s) vt with k = min(rows, columns): u [rows, k], s [k] descending and >= 0, vt [k, columns].
// Throws HK_INTERNAL when the iteration does not converge.
void thin_svd(const double* matrix, int64_t rows, int64_t columns, double* u, double* s, double* vt);

// c [rows, columns] = a [rows, inner] b [inner, columns].
void product(const double* a, const double* b, int64_t rows, int64_t inner, int64_t columns, double* c);

}  // namespace hk::linalg
