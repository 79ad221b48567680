#include "audio/decode.h"

#include <errno.h>
#include <fcntl.h>
#include <sndfile.h>
#include <soxr.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/error.h"

namespace hk::audio {
namespace {

constexpr int kMinRate = 2000, kMaxRate = 768000, kMaxChannels = 64;
constexpr float kMaxAmplitude = 1e6f;     // beyond this the numbers are not audio samples
constexpr size_t kChunkFrames = 16384;    // one read
constexpr uint32_t kOpenLength = 0x7ffff000u;  // writers to a pipe put this (sox) or 0xffffffff (ffmpeg) for "not known"

[[noreturn]] void refuse(const std::string& path, const std::string& reason) {
  throw Error("HK_AUDIO", path + ": " + reason);
}

std::string seconds_text(double frames, int rate) {
  char text[32];
  snprintf(text, sizeof text, "%.2f s", frames / rate);
  return text;
}

// A regular file behind libsndfile's virtual I/O: no extension for libsndfile to believe, no pipe or device to hang on.
class File {
 public:
  explicit File(const std::string& path) : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) refuse(path, std::string("it cannot be opened (") + strerror(errno) + ")");
    struct stat info;
    if (fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
      close(fd_);
      refuse(path, "it is not a regular file");
    }
    size_ = info.st_size;
    if (size_ == 0) {
      close(fd_);
      refuse(path, "the file is empty (0 bytes)");
    }
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }

  // Bytes read at `offset`: fewer at the end of the file or after an error (kept in io_error()).
  int64_t read_at(int64_t offset, void* target, int64_t count) {
    int64_t done = 0;
    while (done < count) {
      const ssize_t n = pread(fd_, (char*)target + done, count - done, offset + done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) io_error_ = errno;
      if (n <= 0) break;
      done += n;
    }
    return done;
  }
  int io_error() const { return io_error_; }

  SF_VIRTUAL_IO io() const {
    SF_VIRTUAL_IO io = {};
    io.get_filelen = [](void* f) { return (sf_count_t)((File*)f)->size_; };
    io.seek = [](sf_count_t offset, int whence, void* f) { return ((File*)f)->seek(offset, whence); };
    io.read = [](void* target, sf_count_t count, void* f) { return ((File*)f)->read(target, count); };
    io.write = [](const void*, sf_count_t, void*) { return (sf_count_t)0; };
    io.tell = [](void* f) { return (sf_count_t)((File*)f)->position_; };
    return io;
  }

 private:
  sf_count_t seek(sf_count_t offset, int whence) {
    const int64_t base = whence == SEEK_CUR ? position_ : whence == SEEK_END ? size_ : 0;
    position_ = std::clamp<int64_t>(base + std::clamp<int64_t>(offset, -size_, size_), 0, size_);
    return position_;
  }
  sf_count_t read(void* target, sf_count_t count) {
    const int64_t n = count <= 0 ? 0 : read_at(position_, target, count);
    position_ += n;
    return n;
  }

  std::string path_;
  int fd_;
  int64_t size_ = 0, position_ = 0;
  int io_error_ = 0;
};

// What the container itself says about its length, next to what libsndfile (which quietly repairs it) makes of it.
struct Claim {
  bool container = false;  // RIFF, RIFX, RF64 or AIFF
  bool found = false;      // the data chunk is there
  bool open = false;       // length legally not known
  int64_t missing = 0;     // bytes that the data chunk claims beyond the end of the file
  int64_t frames = -1;     // AIFF: number of frames that the header states
  int64_t fact = 0;        // WAV: frames of a compressed stream, whose last block is padded
  bool zero_rate = false;  // WAV: the format chunk has a sampling rate of 0
};

uint32_t word(const uint8_t* p, bool big) {
  return big ? (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3] : (uint32_t)p[3] << 24 | p[2] << 16 | p[1] << 8 | p[0];
}

int64_t long_word(const uint8_t* p) { return (int64_t)((uint64_t)word(p + 4, false) << 32 | word(p, false)); }

// Walks the chunks of a RIFF or AIFF file.
Claim read_claim(File& file) {
  Claim claim;
  uint8_t head[40];
  if (file.read_at(0, head, 12) < 12) return claim;
  const bool rf64 = memcmp(head, "RF64", 4) == 0, rifx = memcmp(head, "RIFX", 4) == 0;
  const bool wave = (rf64 || rifx || memcmp(head, "RIFF", 4) == 0) && memcmp(head + 8, "WAVE", 4) == 0;
  const bool aiff = memcmp(head, "FORM", 4) == 0 && memcmp(head + 8, "AIF", 3) == 0;
  if (!wave && !aiff) return claim;
  claim.container = true;
  int64_t long_data = -1;  // RF64 keeps the size of its data in a chunk of its own
  for (int64_t at = 12; at + 8 <= file.size();) {
    const int64_t got = file.read_at(at, head, sizeof head);
    const uint32_t size = word(head + 4, aiff || rifx);
    if (rf64 && memcmp(head, "ds64", 4) == 0 && got >= 24) long_data = long_word(head + 16);
    if (aiff && memcmp(head, "COMM", 4) == 0 && got >= 14) claim.frames = word(head + 10, true);
    if (wave && memcmp(head, "fact", 4) == 0 && got >= 12) claim.fact = word(head + 8, rifx);
    if (wave && memcmp(head, "fmt ", 4) == 0 && got >= 16) claim.zero_rate = word(head + 12, rifx) == 0;
    if (memcmp(head, aiff ? "SSND" : "data", 4) == 0) {
      const int64_t bytes = rf64 && size == 0xffffffffu && long_data >= 0 ? long_data : size;
      claim.found = true;
      claim.missing = std::max<int64_t>(0, bytes - (file.size() - at - 8));
      claim.open = wave && claim.missing > 0 && size >= kOpenLength && long_data < 0;
      return claim;
    }
    at += 8 + (int64_t)size + (size & 1);
  }
  return claim;
}

struct CloseSound { void operator()(SNDFILE* s) const { sf_close(s); } };
using Sound = std::unique_ptr<SNDFILE, CloseSound>;

std::string format_name(int format) {
  SF_FORMAT_INFO info = {};
  info.format = format & SF_FORMAT_TYPEMASK;
  std::string name = sf_command(nullptr, SFC_GET_FORMAT_INFO, &info, sizeof info) == 0 && info.name ? info.name : "unknown";
  info.format = format & SF_FORMAT_SUBMASK;
  if (sf_command(nullptr, SFC_GET_FORMAT_INFO, &info, sizeof info) == 0 && info.name) name += std::string(", ") + info.name;
  return name;
}

bool padded_blocks(const SF_INFO& info) {
  const int coding = info.format & SF_FORMAT_SUBMASK;
  return coding == SF_FORMAT_MS_ADPCM || coding == SF_FORMAT_IMA_ADPCM;
}

bool known_total(const SF_INFO& info) { return info.frames > 0 && info.frames < (sf_count_t)1 << 56; }

// Opens and checks everything that the header alone can tell.
Sound open_sound(File& file, SF_INFO& info, Claim& claim) {
  claim = read_claim(file);
  if (claim.container && !claim.found) refuse(file.path(), "it has no audio data (no data chunk before the end of the file)");
  if (claim.zero_rate) refuse(file.path(), "its header claims a sampling rate of 0 Hz");
  info = {};
  SF_VIRTUAL_IO io = file.io();
  Sound sound(sf_open_virtual(&io, SFM_READ, &info, &file));
  if (!sound) {
    std::string reason = sf_strerror(nullptr);  // of the whole process: another thread may have changed it meanwhile
    if (reason.rfind("No Error", 0) == 0) reason = "Format not recognised";
    while (!reason.empty() && (reason.back() == '.' || reason.back() == '\n')) reason.pop_back();
    refuse(file.path(), "it is not audio that can be read (" + reason + "); WAV, AIFF, FLAC, OGG, MP3 and the like can");
  }
  if (info.channels < 1 || info.channels > kMaxChannels)
    refuse(file.path(), "its header claims " + std::to_string(info.channels) + " channels; 1 to " + std::to_string(kMaxChannels) + " can be used");
  if (info.samplerate < kMinRate || info.samplerate > kMaxRate)
    refuse(file.path(), "its header claims a sampling rate of " + std::to_string(info.samplerate) + " Hz; " + std::to_string(kMinRate) + " to " +
                            std::to_string(kMaxRate) + " can be used");
  if (claim.missing > 0 && !claim.open)
    refuse(file.path(), "it is truncated or its header lies: the header claims " + std::to_string(claim.missing) + " bytes more than there are");
  return sound;
}

SourceInfo source_info(const SF_INFO& info, const Claim& claim) {
  if (padded_blocks(info) && claim.fact > 0 && claim.fact < info.frames)
    return {claim.fact, info.samplerate, info.channels, format_name(info.format)};
  return {claim.frames >= 0 ? claim.frames : known_total(info) ? (int64_t)info.frames : -1, info.samplerate, info.channels, format_name(info.format)};
}

// Mono at the source's rate in, 16 kHz out.
class Resampler {
 public:
  Resampler(int rate, std::vector<float>& out) : rate_(rate), out_(out) {
    if (rate == kRate) return;
    soxr_error_t error = nullptr;
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    soxr_.reset(soxr_create(rate, kRate, 1, &error, nullptr, &quality, nullptr));
    if (!soxr_ || error) throw Error("HK_INTERNAL", std::string("soxr: ") + (error ? error : "cannot be set up"));
  }
  void add(const float* samples, size_t count) {
    if (soxr_) process(samples, count);
    else out_.insert(out_.end(), samples, samples + count);
  }
  void finish() {
    if (soxr_) process(nullptr, 0);
  }

 private:
  struct Delete { void operator()(soxr* s) const { soxr_delete(s); } };

  void process(const float* samples, size_t count) {
    const size_t room = (size_t)((double)count * kRate / rate_) + 4096;
    size_t used = 0, made = 0;
    do {
      const size_t before = out_.size();
      out_.resize(before + room);
      size_t taken = 0;
      const soxr_error_t error = soxr_process(soxr_.get(), samples ? samples + used : nullptr, count - used, &taken,
                                              out_.data() + before, room, &made);
      out_.resize(before + made);
      if (error) throw Error("HK_INTERNAL", std::string("soxr: ") + error);
      used += taken;
    } while (samples ? used < count : made > 0);
  }

  int rate_;
  std::vector<float>& out_;
  std::unique_ptr<soxr, Delete> soxr_;
};

// The mean of the channels, in place of the interleaved frames; false at the first sample that is not a usable number.
bool mix_down(float* samples, size_t frames, int channels, float& peak) {
  const float share = 1.0f / channels;
  for (size_t i = 0; i < frames; i++) {
    float sum = 0;
    for (int c = 0; c < channels; c++) {
      const float value = samples[i * channels + c], size = std::fabs(value);
      if (!(size <= kMaxAmplitude)) return false;
      peak = std::max(peak, size);
      sum += value;
    }
    samples[i] = channels == 1 ? sum : sum * share;
  }
  return true;
}

void check_end(File& file, SNDFILE* sound, const SourceInfo& info, int64_t frames, bool estimated, std::vector<std::string>& warnings) {
  if (file.io_error()) refuse(file.path(), std::string("it cannot be read (") + strerror(file.io_error()) + ")");
  if (sf_error(sound) != SF_ERR_NO_ERROR)
    refuse(file.path(), "it is damaged after " + seconds_text(frames, info.rate) + " (" + sf_strerror(sound) + ")");
  if (frames == 0) refuse(file.path(), "it holds no samples");
  if (info.frames < 0) warnings.push_back("the header does not say how long it is");
  if (info.frames <= frames) return;
  const std::string counts = std::to_string(info.frames) + " frames, " + std::to_string(frames) + " could be decoded";
  if (!estimated) refuse(file.path(), "it is truncated or its header lies: the header claims " + counts);
  warnings.push_back("the header promises " + counts);
}

}  // namespace

SourceInfo probe(const std::string& path) {
  File file(path);
  SF_INFO info;
  Claim claim;
  open_sound(file, info, claim);
  SourceInfo source = source_info(info, claim);
  if (claim.open) source.frames = -1;
  return source;
}

Decoded decode(const std::string& path, double max_seconds) {
  File file(path);
  SF_INFO info;
  Claim claim;
  const Sound sound = open_sound(file, info, claim);
  Decoded result;
  result.source = source_info(info, claim);
  if (claim.open) result.source.frames = -1;
  Resampler resampler(info.samplerate, result.samples);
  std::vector<float> chunk(kChunkFrames * info.channels);
  const int64_t limit = (int64_t)(max_seconds * info.samplerate);
  const int64_t useful = padded_blocks(info) && result.source.frames > 0 ? result.source.frames : INT64_MAX;
  int64_t frames = 0;
  float peak = 0;
  while (frames < useful) {
    const sf_count_t got = sf_readf_float(sound.get(), chunk.data(), std::min<int64_t>(kChunkFrames, useful - frames));
    if (got <= 0 || got > (sf_count_t)kChunkFrames) break;
    if (!mix_down(chunk.data(), got, info.channels, peak))
      refuse(path, "it holds samples that are not finite numbers or beyond 1e6 (near " + seconds_text(frames, info.samplerate) + ")");
    resampler.add(chunk.data(), got);
    frames += got;
    if (frames > limit) refuse(path, "it is longer than the limit of " + std::to_string((int64_t)max_seconds) + " s; cut it into utterances");
    if (sf_error(sound.get()) != SF_ERR_NO_ERROR) break;
  }
  const bool estimated = (info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG;
  check_end(file, sound.get(), result.source, frames, estimated, result.warnings);
  resampler.finish();
  result.source.frames = frames;
  if (result.samples.size() < (size_t)kMinSamples)
    refuse(path, "it is too short: " + std::to_string(result.samples.size()) + " samples at 16 kHz, one frame needs " + std::to_string(kMinSamples));
  if (peak == 0) result.warnings.push_back("all samples are zero");
  if (peak > 1.5f) result.warnings.push_back("samples go up to " + std::to_string(peak) + ", beyond +-1");
  return result;
}

}  // namespace hk::audio
