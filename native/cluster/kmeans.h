// k-means over a sample of rows that is held natively under a stated memory budget.
//
// Filling: append() keeps a uniform random sample (Vitter's algorithm R) of everything it is given; row i's fate is drawn from a
// counter RNG keyed by i, so the sample does not depend on how the rows were cut into chunks.
// Then advance() is called until done; each call does a bounded piece of work, so that the caller can report and stop:
//   seeding    n_init greedy k-means++ seedings (Arthur & Vassilvitskii 2007; 2 + ln K candidates for each centroid, as
//              scikit-learn) side by side on a random subsample; the one with the smallest potential wins. Candidates are drawn
//              and measured ahead of their centroid, and thinned to the distribution that holds then
//   minibatch  Sculley's web-scale k-means (WWW 2010) with per-centroid rates, as scikit-learn's MiniBatchKMeans: stops after
//              `patience` batches in which the smoothed inertia did not improve, or max_iterations passes over the sample
//   lloyd      full iterations until no label changes, the centroids move less than tolerance * mean variance, or max_iterations
//   final      the inertia of the whole sample (reported as the method's phase, until done)
// Empty clusters restart at the rows that lie farthest from their centroids (lloyd), empty and rare ones at random rows of the
// batch (minibatch). Every sum runs in a fixed order: the result depends on rows, options, seed and back-end, not on the number of threads.
// Assignments and updates are the ops of those names, on the back-end that the options name, which then holds a copy of the sample; seeding
// and what else there is runs on the CPU.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/op_call.h"

namespace hk {
namespace cluster {

enum class Method { minibatch, lloyd };

struct KMeansOptions {
  int64_t  clusters = 0, dim = 0;
  uint64_t seed = 0;
  Method   method = Method::minibatch;
  int64_t  n_init = 1;
  int64_t  max_iterations = 100;  // passes over the sample
  int64_t  batch = 10000;
  int64_t  patience = 100;        // batches without improvement; 0: never stop for that
  double   tolerance = 1e-4;      // of the mean variance of the columns
  double   memory_bytes = 0;
  const hk_backend* backend = nullptr;
};

struct Progress {
  const char* phase;   // "seeding", "minibatch", "lloyd", "done"
  int64_t iteration;   // centroids seeded, batches, or Lloyd iterations so far
  int64_t total;       // the most that there can be in this phase
  double  inertia;     // mean squared distance to the nearest centroid, as last measured
  bool    done;
};

// float[] from the back-end's allocator: large arrays are backed by memory only where they are touched.
class Floats {
 public:
  explicit Floats(size_t count);
  ~Floats();
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* data() const { return data_; }

 private:
  float* data_;
  size_t bytes_;
};

// Nearest centroids of rows in the host's memory; labels and distances have one entry for each row.
void assign_clusters(OpCaller& ops, const float* x, int64_t rows, const float* centroids, int64_t clusters, int64_t dim, int32_t* labels,
                     float* distances);

class KMeans {
 public:
  explicit KMeans(const KMeansOptions& options);  // throws Error: HK_ARGUMENT, HK_MEMORY
  ~KMeans();
  void append(const float* rows, int64_t count);  // throws HK_ARGUMENT for a value that is not finite, or after advance()
  Progress advance();                             // on the compute thread
  int64_t rows_seen() const { return seen_; }
  int64_t rows_used() const { return used_; }
  int64_t capacity() const { return capacity_; }
  int64_t iterations() const { return iteration_; }
  double inertia() const { return inertia_; }     // sum of squared distances over the sample, when done
  const std::vector<float>& centroids() const { return centroids_; }
  const KMeansOptions& options() const { return o_; }

  std::atomic<bool> busy{false};

 private:
  enum class Phase { filling, seeding, iterating, finishing, done };
  struct Seeds;
  struct Seeding;

  float* row(int64_t i) const { return sample_->data() + i * o_.dim; }
  uint64_t below(uint32_t stream, uint64_t draw, uint32_t element, uint64_t n) const;
  double uniform(uint32_t stream, uint64_t draw, uint32_t element) const;
  void finish_filling();
  void permute_rows(const std::vector<int64_t>& from);
  void seed_some();
  void start_seeding();
  void seed_next();
  int64_t draw_row(const std::vector<float>& nearest, const std::vector<double>& chunks, double potential, uint32_t element) const;
  void choose_trials();
  void measure_drawn(const std::vector<Seeds*>& drawing);
  const Seeds& best_seeds() const;
  void finish_seeding();
  bool minibatch_step();
  void reassign_rare(const float* batch, int64_t count);
  bool converged(double batch_inertia, int64_t count);
  bool lloyd_step();
  void reseed_empty();
  Array rows_from(int64_t first, int64_t count) const;
  void assign(int64_t first, int64_t count);
  void move_centroids(int64_t first, int64_t count, std::vector<int32_t>* weights);
  void finish();

  KMeansOptions o_;
  Phase phase_ = Phase::filling;
  int64_t capacity_ = 0, seen_ = 0, used_ = 0, subsample_ = 0, iteration_ = 0, total_ = 0;
  double inertia_ = 0, mean_inertia_ = 0, column_variance_ = 0;
  std::unique_ptr<Floats> sample_;
  std::unique_ptr<Seeding> seeding_;
  OpCaller ops_;
  Block resident_;  // the sample, where the back-end has memory of its own
  std::vector<float> centroids_, before_, distances_;
  std::vector<int32_t> labels_, previous_;
  std::vector<int32_t> weight_;  // minibatch: rows each centroid has absorbed
  double smoothed_ = -1, best_smoothed_ = -1;
  int64_t without_improvement_ = 0, since_reassign_ = 0;
};

}  // namespace cluster
}  // namespace hk
