// Eigen-decomposition, thin SVD and product: see linalg.h.
#include "linalg/linalg.h"

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <string>

#include "core/error.h"

namespace hk::linalg {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Output = Eigen::Map<Matrix>;
using Input = Eigen::Map<const Matrix>;
using Vector = Eigen::Map<Eigen::VectorXd>;

void refuse_unconverged(Eigen::ComputationInfo info, const char* what) {
  if (info != Eigen::Success) throw Error("HK_INTERNAL", std::string(what) + " did not converge");
}

}  // namespace

void symmetric_eigen(const double* matrix, int64_t n, double* values, double* vectors) {
  const Input input(matrix, n, n);
  if (!((input - input.transpose()).cwiseAbs().maxCoeff() <= 1e-9 * input.cwiseAbs().maxCoeff()))
    throw Error("HK_ARGUMENT", "matrix: it is not symmetric");
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(input);
  refuse_unconverged(solver.info(), "the eigen-decomposition");
  Vector(values, n) = solver.eigenvalues().reverse();  // Eigen's are ascending, one vector a column
  Output(vectors, n, n) = solver.eigenvectors().rowwise().reverse().transpose();
}

void thin_svd(const double* matrix, int64_t rows, int64_t columns, double* u, double* s, double* vt) {
  const Eigen::BDCSVD<Eigen::MatrixXd> solver(Input(matrix, rows, columns), Eigen::ComputeThinU | Eigen::ComputeThinV);
  refuse_unconverged(solver.info(), "the singular value decomposition");
  const int64_t k = std::min(rows, columns);
  Output(u, rows, k) = solver.matrixU();
  Vector(s, k) = solver.singularValues();
  Output(vt, k, columns) = solver.matrixV().transpose();
}

void product(const double* a, const double* b, int64_t rows, int64_t inner, int64_t columns, double* c) {
  Output(c, rows, columns).noalias() = Input(a, rows, inner) * Input(b, inner, columns);
}

}  // namespace hk::linalg
