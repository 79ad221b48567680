// Decoding and spectral features for JavaScript, on libuv workers (single-threaded each). Buffers are copied in and out on the
// JavaScript thread.
#include "addon/addon.h"
#include "audio/decode.h"
#include "audio/mfcc.h"

namespace hk {
namespace {

std::string path_argument(const Napi::CallbackInfo& info) {
  if (!info[0].IsString()) throw Error("HK_ARGUMENT", "path: expected a string");
  const std::string path = info[0].As<Napi::String>();
  if (path.empty() || path.find('\0') != std::string::npos) throw Error("HK_ARGUMENT", "path: expected a path without NUL characters");
  return path;
}

int integer_argument(const Napi::CallbackInfo& info, size_t index, const char* name, int least, int most) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : least - 1.0;
  if (!(value >= least && value <= most) || value != (int)value)
    throw Error("HK_ARGUMENT", std::string(name) + ": expected a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return (int)value;
}

std::vector<float> wave_argument(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throw Error("HK_ARGUMENT", "samples: expected a Float32Array");
  const auto samples = info[0].As<Napi::Float32Array>();
  return std::vector<float>(samples.Data(), samples.Data() + samples.ElementLength());
}

Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values) {
  auto array = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Object to_js(Napi::Env env, const audio::SourceInfo& source) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("frames", Napi::Number::New(env, (double)source.frames));
  object.Set("sampleRate", Napi::Number::New(env, source.rate));
  object.Set("channels", Napi::Number::New(env, source.channels));
  object.Set("format", Napi::String::New(env, source.format));
  return object;
}

Napi::Value probe_audio(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto path = path_argument(info);
    auto source = std::make_shared<audio::SourceInfo>();
    return run_async(info.Env(), Where::worker, Napi::Object(), [=] { *source = audio::probe(path); },
                     [=](Napi::Env env) -> Napi::Value { return to_js(env, *source); });
  });
}

Napi::Value decode_audio(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto path = path_argument(info);
    const int max_seconds = integer_argument(info, 1, "maxSeconds", 1, 1000000);
    auto decoded = std::make_shared<audio::Decoded>();
    return run_async(info.Env(), Where::worker, Napi::Object(), [=] { *decoded = audio::decode(path, max_seconds); },
                     [=](Napi::Env env) -> Napi::Value {
                       Napi::Object object = to_js(env, decoded->source);
                       object.Set("samples", to_js(env, decoded->samples));
                       Napi::Array warnings = Napi::Array::New(env);
                       for (size_t i = 0; i < decoded->warnings.size(); i++) warnings.Set((uint32_t)i, decoded->warnings[i]);
                       object.Set("warnings", warnings);
                       return object;
                     });
  });
}

struct Features { std::vector<float> wave, values; };

Napi::Value mfcc(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto f = std::make_shared<Features>();
    f->wave = wave_argument(info);
    const auto work = [=] {
      f->values.resize(audio::frame_count(f->wave.size(), audio::kFrameShift) * audio::kMfccFeatures);
      audio::mfcc39(f->wave.data(), f->wave.size(), f->values.data());
    };
    return run_async(info.Env(), Where::worker, Napi::Object(), work, [=](Napi::Env env) -> Napi::Value { return to_js(env, f->values); });
  });
}

Napi::Value log_mel(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto f = std::make_shared<Features>();
    f->wave = wave_argument(info);
    const int filters = integer_argument(info, 1, "filters", 1, audio::kMaxFilters);
    const int shift = integer_argument(info, 2, "shift", 1, 16000);
    const auto work = [=] {
      f->values.resize(audio::frame_count(f->wave.size(), shift) * filters);
      audio::log_mel(f->wave.data(), f->wave.size(), shift, filters, f->values.data());
    };
    return run_async(info.Env(), Where::worker, Napi::Object(), work, [=](Napi::Env env) -> Napi::Value { return to_js(env, f->values); });
  });
}

}  // namespace

void init_audio(Napi::Env env, Napi::Object exports) {
  exports.Set("probeAudio", Napi::Function::New(env, probe_audio, "probeAudio"));
  exports.Set("decodeAudio", Napi::Function::New(env, decode_audio, "decodeAudio"));
  exports.Set("mfcc", Napi::Function::New(env, mfcc, "mfcc"));
  exports.Set("logMel", Napi::Function::New(env, log_mel, "logMel"));
}

}  // namespace hk
