#include "speech/synthesis.h"

#include <sndfile.h>
#include <soxr.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.h"

#ifdef HK_FLITE
#include <flite/flite.h>
extern "C" {
cst_voice* register_cmu_us_slt(const char*);
cst_voice* register_cmu_us_rms(const char*);
cst_voice* register_cmu_us_awb(const char*);
cst_voice* register_cmu_us_kal16(const char*);
}
#endif

namespace hk {

namespace {

constexpr int kRate = 16000;

// All of `input`, taken as `from` samples a second, at 16 kHz. Time 0 stays at time 0 (soxr removes its own delay).
[[maybe_unused]] std::vector<float> resample(const std::vector<float>& input, double from) {
  std::vector<float> output((size_t)std::ceil(input.size() * kRate / from) + 8);
  size_t consumed = 0, produced = 0;
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t one_thread = soxr_runtime_spec(1);
  const soxr_error_t error = soxr_oneshot(from, kRate, 1, input.data(), input.size(), &consumed, output.data(),
                                          output.size(), &produced, nullptr, &quality, &one_thread);
  if (error) throw Error("HK_INTERNAL", std::string("soxr: ") + error);
  output.resize(produced);
  return output;
}

#ifdef HK_FLITE

struct Voice {
  const char* name;
  cst_voice* (*make)(const char*);
};

constexpr Voice kVoices[] = {{"slt", register_cmu_us_slt},
                             {"rms", register_cmu_us_rms},
                             {"awb", register_cmu_us_awb},
                             {"kal16", register_cmu_us_kal16}};

cst_voice* find_voice(const std::string& name) {
  static const int initialised = flite_init();
  (void)initialised;
  for (const Voice& voice : kVoices)
    if (name == voice.name) return voice.make(nullptr);
  throw Error("HK_ARGUMENT", "no voice '" + name + "': expected slt, rms, awb or kal16");
}

struct Utterance {  // frees the structure on every way out
  cst_utterance* u;
  ~Utterance() {
    if (u) delete_utterance(u);
  }
};

double end_of(const cst_item* segment) { return item_feat_float(segment, "end"); }

// The first or last segment below a Word item, or null when the word has no sound.
const cst_item* edge_segment(const cst_item* word, bool first) {
  const char* path = first ? "R:SylStructure.daughter1.daughter1.R:Segment" : "R:SylStructure.daughtern.daughtern.R:Segment";
  return path_to_item(word, path);
}

// A token of the text ("we'll") may have become several words ("we", "'ll"): its time spans all of them.
void read_words(cst_utterance* u, Speech& speech) {
  for (const cst_item* token = relation_head(utt_relation(u, "Token")); token; token = item_next(token)) {
    const cst_item* first = nullptr;
    const cst_item* last = nullptr;
    for (const cst_item* word = item_daughter(token); word; word = item_next(word)) {
      if (!first) first = edge_segment(word, true);
      if (const cst_item* end = edge_segment(word, false)) last = end;
    }
    const std::string name = item_feat_string(token, "name");
    if (!first || !last) throw Error("HK_INTERNAL", "flite says nothing for the word '" + name + "'");
    speech.words.push_back(name);
    speech.word_starts.push_back(item_prev(first) ? end_of(item_prev(first)) : 0.0);
    speech.word_ends.push_back(end_of(last));
  }
}

void read_phones(cst_utterance* u, Speech& speech) {
  for (const cst_item* s = relation_head(utt_relation(u, "Segment")); s; s = item_next(s)) {
    speech.phones.push_back(item_feat_string(s, "name"));
    speech.phone_ends.push_back(end_of(s));
  }
}

// Divides all times by `speed`, moves them to within the waveform and lets the last phone end with it: the diphone voice stops in
// the middle of its final pause, the statistical ones within a 5 ms frame of the stated end.
void fit_times(Speech& speech, double speed) {
  const double duration = (double)speech.waveform.size() / kRate;
  if (speech.phone_ends.empty()) throw Error("HK_INTERNAL", "flite found no phones in the text");
  const auto fit = [&](std::vector<double>& times) {
    for (double& time : times) time = std::min(time / speed, duration);
  };
  fit(speech.phone_ends);
  fit(speech.word_starts);
  fit(speech.word_ends);
  speech.phone_ends.back() = duration;
}

#else

[[noreturn]] void not_built() {
  throw Error("HK_NOT_BUILT",
              "This build of hubertkit has no speech synthesis: flite was not found when it was built. Install it "
              "(apt-get install flite1-dev) and rebuild: npm run build:native");
}

#endif

}  // namespace

#ifdef HK_FLITE

std::vector<std::string> speech_voices() {
  std::vector<std::string> names;
  for (const Voice& voice : kVoices) names.push_back(voice.name);
  return names;
}

// A formant shift is a change of playing speed (resonances, pitch and tempo all move) for which pitch and tempo are made up before.
Speech synthesise(const SpeechRequest& request) {
  cst_voice* voice = find_voice(request.voice);
  flite_feat_set_float(voice->features, "int_f0_target_mean", (float)(request.f0 / request.formant));
  flite_feat_set_float(voice->features, "int_f0_target_stddev", (float)(request.f0_range / request.formant));
  flite_feat_set_float(voice->features, "duration_stretch", (float)(request.stretch * request.formant));
  srand(1);
  const Utterance utterance{flite_synth_text(request.text.c_str(), voice)};
  const cst_wave* wave = utterance.u ? utt_wave(utterance.u) : nullptr;
  if (!wave || wave->num_channels != 1 || wave->num_samples <= 0)
    throw Error("HK_INTERNAL", "flite could not say: " + request.text);

  Speech speech;
  speech.waveform.resize(wave->num_samples);
  for (int i = 0; i < wave->num_samples; i++) speech.waveform[i] = wave->samples[i] / 32768.0f;
  const double rate = wave->sample_rate * request.formant;
  if (rate != kRate) speech.waveform = resample(speech.waveform, rate);
  read_phones(utterance.u, speech);
  read_words(utterance.u, speech);
  fit_times(speech, request.formant);
  return speech;
}

#else

std::vector<std::string> speech_voices() { not_built(); }
Speech synthesise(const SpeechRequest&) { not_built(); }

#endif

void write_flac(const std::string& path, const std::vector<float>& waveform, int rate) {
  std::vector<short> samples(waveform.size());
  for (size_t i = 0; i < samples.size(); i++)
    samples[i] = (short)std::lrint(std::min(32767.0f, std::max(-32768.0f, waveform[i] * 32768.0f)));
  SF_INFO info{};
  info.samplerate = rate;
  info.channels = 1;
  info.format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  if (!file) throw Error("HK_IO", path + ": " + sf_strerror(nullptr));
  const sf_count_t written = sf_writef_short(file, samples.data(), (sf_count_t)samples.size());
  const std::string reason = sf_strerror(file);
  const int closed = sf_close(file);
  if (written != (sf_count_t)samples.size() || closed != 0) throw Error("HK_IO", path + ": could not be written: " + reason);
}

}  // namespace hk
