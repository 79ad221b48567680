#include "cluster/kmeans.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "cpu/cpu.h"
#include "cpu/gemm.h"
#include "hubertkit/philox.h"

namespace hk {
namespace cluster {
namespace {

// One stream of random numbers for each purpose.
enum Stream : uint32_t { kReservoir = 1, kShuffle, kFirst, kCandidate, kOffset, kReassign, kAccept };

const int64_t kRowChunk = 1024;          // rows of a partial sum
const int64_t kRowTile = 256;            // rows of a product in the seeding
const int64_t kDrawn = 32;               // candidates in a product, at best: the rows come from memory once for all of them
const int64_t kSeedRowsLeast = 30000;    // the seeding's subsample: 3 batches, as scikit-learn
const double  kRare = 0.01;              // minibatch: rarer than this share of the mean cluster is reassigned
const double  kSeedWork = 2e10;          // FLOP of seeding in one advance()
const double  kParallelWork = 1e6;       // operations that are worth waking the other threads for

int64_t chunks_of(int64_t rows) { return (rows + kRowChunk - 1) / kRowChunk; }

int64_t trials_of(int64_t clusters) { return 2 + (int64_t)log((double)clusters); }

// Candidates that each seeding draws at a time, and those that it keeps: the drawn ones and fewer than `trials` before them. Their
// distances take no more memory than the rows, or what `trials` of them take.
int64_t drawn_of(const KMeansOptions& o) {
  const int64_t trials = trials_of(o.clusters);
  return std::max(trials, std::min(kDrawn / o.n_init, o.dim - trials));
}
int64_t slots_of(const KMeansOptions& o) {
  const int64_t trials = trials_of(o.clusters);
  return drawn_of(o) > trials ? drawn_of(o) + trials : trials;
}

std::string text(double value) {
  char buffer[64];
  snprintf(buffer, sizeof buffer, "%.0f", value);
  return buffer;
}

// The sum of term(0) .. term(n - 1), in eight lanes.
template <class Term>
double sum_of(int64_t n, const Term& term) {
  double lane[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; j++) lane[j] += term(i + j);
  for (int j = 0; i < n; i++, j++) lane[j] += term(i);
  return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}
double sum_of(const float* x, int64_t n) {
  return sum_of(n, [=](int64_t i) { return (double)x[i]; });
}

bool all_finite(const float* x, int64_t n) {
  int bad = 0;
  for (int64_t i = 0; i < n; i++) bad |= !(fabsf(x[i]) <= FLT_MAX);
  return !bad;
}

}  // namespace

Floats::Floats(size_t count) : data_((float*)cpu_backend()->allocate(cpu_backend(), count * sizeof(float))), bytes_(count * sizeof(float)) {
  if (!data_) throw Error("HK_MEMORY", "k-means: no memory for " + text((double)bytes_) + " bytes of rows. Give a smaller memoryBytes.");
}
Floats::~Floats() { cpu_backend()->deallocate(cpu_backend(), data_, bytes_); }

void assign_clusters(OpCaller& ops, const float* x, int64_t rows, const float* centroids, int64_t clusters, int64_t dim, int32_t* labels,
                     float* distances) {
  ops.run("kmeans_assign", {{(void*)x, HK_F32, {rows, dim}}, {(void*)centroids, HK_F32, {clusters, dim}}},
          {{labels, HK_I32, {rows}}, {distances, HK_F32, {rows}}});
}

// One seeding; n = rows of the subsample.
struct KMeans::Seeds {
  struct Candidate {
    int64_t row;   // of the subsample
    float weight;  // nearest[row] when it was drawn
  };
  std::vector<float> nearest;        // [n] squared distance to the nearest centroid so far
  std::vector<double> chunks;        // sums of nearest, kRowChunk rows each
  double potential = INFINITY;       // sum of nearest
  std::vector<int64_t> chosen;       // rows that are centroids
  std::vector<Candidate> candidate;  // [slots]
  std::vector<float> distance;       // [slots, n] squared distance to the candidate
  std::vector<int64_t> drawn;        // slots of candidates not looked at yet, in the order in which they were drawn
  std::vector<int64_t> trial;        // slots of those that are tried for the next centroid
};

// The seedings that run side by side.
struct KMeans::Seeding {
  int64_t n, trials, done = 0;
  std::vector<float> squares;  // [n] squared norms
  std::vector<Seeds> seeds;    // [n_init]
};

KMeans::KMeans(const KMeansOptions& options) : o_(options), ops_(options.backend) {
  if (o_.clusters < 1 || o_.dim < 1 || o_.clusters > (1 << 24) || o_.dim > (1 << 24))
    throw Error("HK_ARGUMENT", "k-means: clusters and dim must be from 1 to 2^24");
  if (o_.n_init < 1 || o_.n_init > 1000 || o_.max_iterations < 1 || o_.batch < 1 || o_.patience < 0 || !(o_.tolerance >= 0))
    throw Error("HK_ARGUMENT", "k-means: nInit (1..1000), maxIterations, batch (from 1), patience and tolerance (from 0) are out of range");
  const double candidates = (double)(o_.n_init * slots_of(o_)), dim = (double)o_.dim, clusters = (double)o_.clusters;
  const double row_bytes = 4 * dim + 4 * 3 + 8;                                  // a row, its labels, distance, place
  const double seed_bytes = 4 + 4.0 * o_.n_init + 4 * candidates + 8 * candidates / kRowChunk + 8;  // a row of the subsample
  const double fixed = clusters * (dim * (4 + 8 + 4) + 32 + 8.0 * o_.n_init) + candidates * (4 * dim + 16);
  const double subsample = (double)std::max(kSeedRowsLeast, 3 * o_.clusters);
  double rows = (o_.memory_bytes - fixed - subsample * seed_bytes) / row_bytes;
  if (!(rows >= subsample)) rows = (o_.memory_bytes - fixed) / (row_bytes + seed_bytes);
  if (!(rows >= clusters))
    throw Error("HK_MEMORY", "k-means: " + text(o_.memory_bytes) + " bytes are too few for " + text(clusters) + " clusters of dimension " +
                                 text(dim) + ": at least " + text(ceil(fixed + clusters * (row_bytes + seed_bytes))) +
                                 " are needed. Raise memoryBytes, or lower clusters or nInit.");
  capacity_ = (int64_t)std::min(rows, 2147483647.0);
  sample_ = std::make_unique<Floats>((size_t)capacity_ * (size_t)o_.dim);
}

KMeans::~KMeans() = default;

uint64_t KMeans::below(uint32_t stream, uint64_t draw, uint32_t element, uint64_t n) const {
  const Philox4 r = philox(o_.seed, draw, stream, element);
  return (uint64_t)(((unsigned __int128)((uint64_t)r.word[0] << 32 | r.word[1]) * n) >> 64);
}

double KMeans::uniform(uint32_t stream, uint64_t draw, uint32_t element) const {
  const Philox4 r = philox(o_.seed, draw, stream, element);
  return (double)(((uint64_t)r.word[0] << 32 | r.word[1]) >> 11) / 9007199254740992.0;
}

void KMeans::append(const float* rows, int64_t count) {
  if (phase_ != Phase::filling) throw Error("HK_ARGUMENT", "k-means: rows cannot be added once the fit has begun");
  for (int64_t i = 0; i < count; i++)
    if (!all_finite(rows + i * o_.dim, o_.dim))
      throw Error("HK_ARGUMENT", "k-means: row " + text((double)(seen_ + i)) + " has a value that is not finite");
  for (int64_t i = 0; i < count; i++, seen_++) {
    const int64_t slot = seen_ < capacity_ ? seen_ : (int64_t)below(kReservoir, (uint64_t)seen_, 0, (uint64_t)seen_ + 1);
    if (slot < capacity_) memcpy(row(slot), rows + i * o_.dim, (size_t)o_.dim * sizeof(float));
  }
}

Progress KMeans::advance() {
  if (phase_ == Phase::filling) finish_filling();
  else if (phase_ == Phase::seeding) seed_some();
  else if (phase_ == Phase::finishing) finish();
  else if (phase_ == Phase::iterating && (o_.method == Method::lloyd ? lloyd_step() : minibatch_step())) phase_ = Phase::finishing;
  const char* phase = phase_ == Phase::done ? "done" : phase_ == Phase::seeding ? "seeding" : o_.method == Method::lloyd ? "lloyd" : "minibatch";
  if (phase_ == Phase::seeding) return {phase, seeding_->done, o_.clusters, mean_inertia_, false};
  return {phase, iteration_, total_, mean_inertia_, phase_ == Phase::done};
}

// Puts the sample in random order: its first rows are a uniform subsample, and mini-batches are slices.
void KMeans::finish_filling() {
  used_ = std::min(seen_, capacity_);
  if (used_ < o_.clusters)
    throw Error("HK_ARGUMENT", "k-means: " + text((double)o_.clusters) + " clusters need at least as many rows, got " + text((double)used_));
  std::vector<int64_t> from((size_t)used_);
  std::iota(from.begin(), from.end(), 0);
  for (int64_t i = used_ - 1; i > 0; i--) std::swap(from[i], from[below(kShuffle, (uint64_t)i, 0, (uint64_t)i + 1)]);
  permute_rows(from);
  subsample_ = std::min(used_, std::max(kSeedRowsLeast, 3 * o_.clusters));
  start_seeding();
}

// Row i becomes what row from[i] was. Each thread moves columns of its own, around one cycle of the permutation after the other.
void KMeans::permute_rows(const std::vector<int64_t>& from) {
  const int64_t parts = std::min<int64_t>(omp_get_max_threads(), (o_.dim + 63) / 64);
#pragma omp parallel for schedule(static) if ((double)used_ * o_.dim > kParallelWork)
  for (int64_t part = 0; part < parts; part++) {
    const int64_t begin = o_.dim * part / parts, columns = o_.dim * (part + 1) / parts - begin;
    const size_t bytes = (size_t)columns * sizeof(float);
    std::vector<float> first((size_t)columns);
    std::vector<bool> moved((size_t)used_);
    for (int64_t i = 0; i < used_; i++) {
      if (moved[i]) continue;
      memcpy(first.data(), row(i) + begin, bytes);
      int64_t to = i;
      for (; from[to] != i; to = from[to]) {
        memcpy(row(to) + begin, row(from[to]) + begin, bytes);
        moved[to] = true;
      }
      memcpy(row(to) + begin, first.data(), bytes);
      moved[to] = true;
    }
  }
}

void KMeans::start_seeding() {
  seeding_ = std::make_unique<Seeding>();
  Seeding& s = *seeding_;
  s.n = subsample_;
  s.trials = trials_of(o_.clusters);
  s.squares.resize((size_t)s.n);
  s.seeds.resize((size_t)o_.n_init);
  const int64_t slots = slots_of(o_);
  for (Seeds& seeds : s.seeds) {
    seeds.nearest.assign((size_t)s.n, INFINITY);
    seeds.chunks.resize((size_t)chunks_of(s.n));
    seeds.candidate.resize((size_t)slots);
    seeds.distance.resize((size_t)(slots * s.n));
  }
#pragma omp parallel for schedule(static) if ((double)s.n * o_.dim > kParallelWork)
  for (int64_t i = 0; i < s.n; i++) {
    const float* x = row(i);
    s.squares[i] = (float)sum_of(o_.dim, [=](int64_t d) { return (double)x[d] * x[d]; });
  }
  phase_ = Phase::seeding;
}

void KMeans::seed_some() {
  Seeding& s = *seeding_;
  double work = 0;
  do {
    seed_next();
    work += 2.0 * s.n * o_.n_init * s.trials * o_.dim;
  } while (s.done < o_.clusters && work < kSeedWork);
  if (s.done == o_.clusters) finish_seeding();
}

// A row, with probability proportional to its squared distance to the nearest centroid so far; any row for the first centroid, and when
// all rows are centroids.
int64_t KMeans::draw_row(const std::vector<float>& nearest, const std::vector<double>& chunks, double potential, uint32_t element) const {
  const uint64_t done = (uint64_t)seeding_->done;
  const int64_t n = seeding_->n;
  if (done == 0 || !(potential > 0)) return (int64_t)below(kFirst, done, element, (uint64_t)n);
  double rest = uniform(kCandidate, done, element) * potential;
  size_t c = 0;
  while (c + 1 < chunks.size() && rest >= chunks[c]) rest -= chunks[c++];
  int64_t pick = (int64_t)c * kRowChunk;
  const int64_t last = std::min(pick + kRowChunk, n) - 1;
  while (pick < last && rest >= nearest[pick]) rest -= nearest[pick++];
  return pick;
}

// Fills `trial` of every seeding. A candidate that was drawn before other centroids were found is taken with probability nearest now /
// nearest then, which makes its distribution that of one drawn now (rejection sampling); the rest is drawn.
void KMeans::choose_trials() {
  Seeding& s = *seeding_;
  const size_t trials = (size_t)s.trials;
  std::vector<Seeds*> drawing;
  for (size_t init = 0; init < s.seeds.size(); init++) {
    Seeds& seeds = s.seeds[init];
    const auto element = [&](int64_t slot) { return (uint32_t)(init * seeds.candidate.size() + (size_t)slot); };
    seeds.trial.clear();
    size_t seen = 0;
    for (; seen < seeds.drawn.size() && seeds.trial.size() < trials; seen++) {
      const int64_t slot = seeds.drawn[seen];
      const Seeds::Candidate& c = seeds.candidate[slot];
      if (uniform(kAccept, (uint64_t)s.done, element(slot)) * c.weight < seeds.nearest[c.row]) seeds.trial.push_back(slot);
    }
    seeds.drawn.erase(seeds.drawn.begin(), seeds.drawn.begin() + (int64_t)seen);
    if (seeds.trial.size() == trials) continue;
    const size_t drawn = (size_t)drawn_of(o_);
    for (int64_t slot = 0; seeds.drawn.size() < drawn; slot++) {
      if (std::find(seeds.trial.begin(), seeds.trial.end(), slot) != seeds.trial.end()) continue;
      const int64_t row = draw_row(seeds.nearest, seeds.chunks, seeds.potential, element(slot));
      seeds.candidate[slot] = {row, seeds.nearest[row]};
      seeds.drawn.push_back(slot);
    }
    drawing.push_back(&seeds);
  }
  measure_drawn(drawing);
  for (Seeds* seeds : drawing)
    while (seeds->trial.size() < trials) {
      seeds->trial.push_back(seeds->drawn.front());
      seeds->drawn.erase(seeds->drawn.begin());
    }
}

// Distances of all rows of the subsample to the drawn candidates of these seedings.
void KMeans::measure_drawn(const std::vector<Seeds*>& drawing) {
  struct Column {
    int64_t row;
    float square, *distance;
  };
  const Seeding& s = *seeding_;
  std::vector<Column> columns;
  for (Seeds* seeds : drawing)
    for (const int64_t slot : seeds->drawn) {
      const int64_t row = seeds->candidate[slot].row;
      columns.push_back({row, s.squares[row], seeds->distance.data() + slot * s.n});
    }
  const int64_t C = (int64_t)columns.size();
  std::vector<float> candidates((size_t)(C * o_.dim));
  for (int64_t c = 0; c < C; c++) memcpy(candidates.data() + c * o_.dim, row(columns[c].row), (size_t)o_.dim * sizeof(float));
#pragma omp parallel for schedule(static) if ((double)s.n * C * o_.dim > kParallelWork)
  for (int64_t begin = 0; begin < s.n; begin += kRowTile) {
    const int64_t rows = std::min(kRowTile, s.n - begin);
    std::vector<float> product((size_t)(rows * C));
    gemm(false, true, rows, C, o_.dim, -2, row(begin), o_.dim, candidates.data(), o_.dim, 0, product.data(), C);
    const float* squares = s.squares.data() + begin;
    for (int64_t c = 0; c < C; c++) {
      float* distance = columns[c].distance + begin;
      for (int64_t i = 0; i < rows; i++) {
        const float d = product[i * C + c] + squares[i] + columns[c].square;
        distance[i] = d > 0 ? d : 0;
      }
      const int64_t own = columns[c].row - begin;
      if (own >= 0 && own < rows) distance[own] = 0;
    }
  }
}

// One more centroid of every seeding: the candidate that lowers the potential most.
void KMeans::seed_next() {
  Seeding& s = *seeding_;
  const int64_t chunks = chunks_of(s.n), trials = s.trials;
  choose_trials();
  std::vector<double> partial((size_t)(chunks * o_.n_init * trials));  // [chunks, n_init, trials]
  const bool parallel = 4.0 * s.n * o_.n_init * trials > kParallelWork;
#pragma omp parallel for schedule(static) if (parallel)
  for (int64_t chunk = 0; chunk < chunks; chunk++) {
    const int64_t begin = chunk * kRowChunk, rows = std::min(kRowChunk, s.n - begin);
    double* sum = partial.data() + chunk * o_.n_init * trials;
    for (const Seeds& seeds : s.seeds)
      for (const int64_t slot : seeds.trial) {
        const float *nearest = seeds.nearest.data() + begin, *distance = seeds.distance.data() + slot * s.n + begin;
        *sum++ = sum_of(rows, [=](int64_t i) { return (double)std::min(nearest[i], distance[i]); });
      }
  }
  std::vector<const float*> winners;
  for (int64_t init = 0; init < o_.n_init; init++) {
    Seeds& seeds = s.seeds[init];
    const auto sum = [&](int64_t chunk, int64_t t) { return partial[(chunk * o_.n_init + init) * trials + t]; };
    double least = INFINITY;
    int64_t winner = 0;
    for (int64_t t = 0; t < trials; t++) {
      double potential = 0;
      for (int64_t chunk = 0; chunk < chunks; chunk++) potential += sum(chunk, t);
      if (potential < least) {
        least = potential;
        winner = t;
      }
    }
    seeds.potential = least;
    for (int64_t chunk = 0; chunk < chunks; chunk++) seeds.chunks[chunk] = sum(chunk, winner);
    seeds.chosen.push_back(seeds.candidate[seeds.trial[winner]].row);
    winners.push_back(seeds.distance.data() + seeds.trial[winner] * s.n);
  }
#pragma omp parallel for schedule(static) if (parallel)
  for (int64_t chunk = 0; chunk < chunks; chunk++)
    for (int64_t init = 0; init < o_.n_init; init++) {
      float* nearest = s.seeds[init].nearest.data();
      for (int64_t i = chunk * kRowChunk; i < std::min(s.n, (chunk + 1) * kRowChunk); i++) nearest[i] = std::min(nearest[i], winners[init][i]);
    }
  s.done++;
  mean_inertia_ = best_seeds().potential / (double)s.n;
}

const KMeans::Seeds& KMeans::best_seeds() const {
  return *std::min_element(seeding_->seeds.begin(), seeding_->seeds.end(), [](const auto& a, const auto& b) { return a.potential < b.potential; });
}

void KMeans::finish_seeding() {
  const std::vector<int64_t>& chosen = best_seeds().chosen;
  centroids_.resize((size_t)(o_.clusters * o_.dim));
  for (int64_t k = 0; k < o_.clusters; k++) memcpy(centroids_.data() + k * o_.dim, row(chosen[k]), (size_t)o_.dim * sizeof(float));
  seeding_.reset();
  labels_.assign((size_t)used_, -1);
  distances_.assign((size_t)used_, 0);
  weight_.assign((size_t)o_.clusters, 0);
  if (o_.backend->allocate_staging) {
    const size_t bytes = (size_t)(used_ * o_.dim) * sizeof(float);
    resident_.reserve(o_.backend, bytes, "the rows of k-means");
    ops_.upload(resident_.data(), sample_->data(), bytes);
  }
  const int64_t batch = std::min(o_.batch, used_);
  total_ = o_.method == Method::lloyd ? o_.max_iterations : std::max<int64_t>(1, o_.max_iterations * used_ / batch);
  if (o_.method == Method::lloyd) {  // the mean variance of the columns scales the tolerance
    std::vector<double> sum((size_t)o_.dim), squares((size_t)o_.dim);
#pragma omp parallel for schedule(static) if ((double)used_ * o_.dim > kParallelWork)
    for (int64_t block = 0; block < (o_.dim + 63) / 64; block++)
      for (int64_t i = 0; i < used_; i++)
        for (int64_t d = block * 64; d < std::min(o_.dim, block * 64 + 64); d++) {
          sum[d] += row(i)[d];
          squares[d] += (double)row(i)[d] * row(i)[d];
        }
    for (int64_t d = 0; d < o_.dim; d++)
      column_variance_ += (squares[d] / used_ - sum[d] / used_ * (sum[d] / used_)) / (double)o_.dim;
  }
  phase_ = Phase::iterating;
}

Array KMeans::rows_from(int64_t first, int64_t count) const {
  float* rows = resident_.data() ? (float*)resident_.data() + first * o_.dim : row(first);
  return {rows, HK_F32, {count, o_.dim}, resident_.data() != nullptr};
}

// The nearest centroids of the rows from `first` on, into the first entries of labels_ and distances_.
void KMeans::assign(int64_t first, int64_t count) {
  ops_.run("kmeans_assign", {rows_from(first, count), {centroids_.data(), HK_F32, {o_.clusters, o_.dim}}},
           {{labels_.data(), HK_I32, {count}}, {distances_.data(), HK_F32, {count}}});
}

// The centroids to the means of these rows, which have the first labels, and of the rows that `weights` counts. They were where `before_` says.
void KMeans::move_centroids(int64_t first, int64_t count, std::vector<int32_t>* weights) {
  before_.resize(centroids_.size());
  std::vector<int32_t> absorbed(weights->size());
  const std::vector<int64_t> shape = {o_.clusters, o_.dim};
  ops_.run("kmeans_update",
           {rows_from(first, count), {labels_.data(), HK_I32, {count}}, {centroids_.data(), HK_F32, shape}, {weights->data(), HK_I32, {o_.clusters}}},
           {{before_.data(), HK_F32, shape}, {absorbed.data(), HK_I32, {o_.clusters}}});
  centroids_.swap(before_);
  weights->swap(absorbed);
}

// --- mini-batches

bool KMeans::minibatch_step() {
  const int64_t batch = std::min(o_.batch, used_);
  const int64_t each = used_ / batch, epoch = iteration_ / each;  // whole batches in a pass; the pass begins at a random row
  const int64_t offset = (int64_t)below(kOffset, (uint64_t)epoch, 0, (uint64_t)(used_ - each * batch + 1));
  const int64_t first = offset + iteration_ % each * batch;
  assign(first, batch);
  const double inertia = sum_of(distances_.data(), batch);
  move_centroids(first, batch, &weight_);
  since_reassign_ += batch;
  reassign_rare(row(first), batch);
  iteration_++;
  mean_inertia_ = inertia / (double)batch;
  return converged(mean_inertia_, batch) || iteration_ >= total_;
}

// Empty and rare clusters restart at random rows of the batch, with the weight of the rarest of the others (scikit-learn's way).
void KMeans::reassign_rare(const float* batch, int64_t count) {
  const bool empty = std::find(weight_.begin(), weight_.end(), 0) != weight_.end();
  if (!empty && since_reassign_ < 10 * o_.clusters) return;
  since_reassign_ = 0;
  const double least = kRare * std::accumulate(weight_.begin(), weight_.end(), 0.0) / (double)o_.clusters;
  std::vector<int64_t> rare;
  int32_t kept = INT32_MAX;
  for (int64_t k = 0; k < o_.clusters; k++) {
    if (weight_[k] < least) rare.push_back(k);
    else kept = std::min(kept, weight_[k]);
  }
  const size_t most = (size_t)std::max<int64_t>(1, count / 2);
  std::stable_sort(rare.begin(), rare.end(), [&](int64_t a, int64_t b) { return weight_[a] < weight_[b]; });
  if (rare.size() > most) rare.resize(most);
  std::vector<int64_t> places((size_t)count);
  std::iota(places.begin(), places.end(), 0);
  for (size_t i = 0; i < rare.size(); i++) {
    std::swap(places[i], places[i + below(kReassign, (uint64_t)iteration_, (uint32_t)i, (uint64_t)count - i)]);
    memcpy(centroids_.data() + rare[i] * o_.dim, batch + places[i] * o_.dim, (size_t)o_.dim * sizeof(float));
    weight_[rare[i]] = kept;
  }
}

// An exponentially weighted mean of the batches' inertia decides; the first batch only had the seeds and is not counted.
bool KMeans::converged(double inertia, int64_t count) {
  if (iteration_ == 1 || o_.patience == 0) return false;
  const double alpha = std::min(1.0, 2.0 * (double)count / (double)(used_ + 1));
  smoothed_ = smoothed_ < 0 ? inertia : smoothed_ * (1 - alpha) + inertia * alpha;
  if (best_smoothed_ < 0 || smoothed_ < best_smoothed_) {
    best_smoothed_ = smoothed_;
    without_improvement_ = 0;
  } else {
    without_improvement_++;
  }
  return without_improvement_ >= o_.patience;
}

// --- Lloyd

// Each empty cluster takes the row that lies farthest from its centroid (and leaves the cluster it was in): in labels_.
void KMeans::reseed_empty() {
  std::vector<int64_t> left((size_t)o_.clusters), empty;
  for (int64_t i = 0; i < used_; i++) left[labels_[i]]++;
  for (int64_t k = 0; k < o_.clusters; k++)
    if (left[k] == 0) empty.push_back(k);
  if (empty.empty()) return;
  std::vector<int64_t> order((size_t)used_);
  std::iota(order.begin(), order.end(), 0);
  const size_t wanted = std::min(order.size(), 4 * empty.size());
  std::partial_sort(order.begin(), order.begin() + (int64_t)wanted, order.end(), [&](int64_t a, int64_t b) {
    return distances_[a] != distances_[b] ? distances_[a] > distances_[b] : a < b;
  });
  size_t next = 0;
  for (const int64_t k : empty) {
    while (next < wanted && left[labels_[order[next]]] <= 1) next++;  // never empties another cluster
    if (next == wanted || !(distances_[order[next]] > 0)) break;  // fewer distinct rows than clusters
    int32_t& label = labels_[order[next++]];
    left[label]--;
    left[k] = 1;
    label = (int32_t)k;
  }
}

bool KMeans::lloyd_step() {
  previous_ = labels_;
  assign(0, used_);
  mean_inertia_ = sum_of(distances_.data(), used_) / (double)used_;
  const bool unchanged = labels_ == previous_;
  reseed_empty();
  std::vector<int32_t> weights((size_t)o_.clusters);
  move_centroids(0, used_, &weights);
  const float *now = centroids_.data(), *before = before_.data();
  const double shift = sum_of((int64_t)centroids_.size(), [=](int64_t i) { return ((double)now[i] - before[i]) * ((double)now[i] - before[i]); });
  iteration_++;
  return unchanged || shift <= o_.tolerance * column_variance_ || iteration_ >= o_.max_iterations;
}

void KMeans::finish() {
  assign(0, used_);
  inertia_ = sum_of(distances_.data(), used_);
  mean_inertia_ = inertia_ / (double)used_;
  phase_ = Phase::done;
  sample_.reset();
  labels_ = previous_ = {};
  distances_ = {};
}

}  // namespace cluster
}  // namespace hk
