// Speech synthesis and the random channel, for lib/data/embedded. All synchronous: speech is rendered in processes of their own.
#include <algorithm>
#include <cmath>

#include "addon/addon.h"
#include "speech/channel.h"
#include "speech/synthesis.h"

namespace hk {

namespace {

Napi::Object object_at(const Napi::CallbackInfo& info, size_t i, const char* what) {
  if (info.Length() <= i || !info[i].IsObject()) throw Error("HK_ARGUMENT", std::string(what) + " must be an object");
  return info[i].As<Napi::Object>();
}

double number(const Napi::Object& object, const char* name, double low, double high) {
  const Napi::Value value = object.Get(name);
  const double x = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(x >= low && x <= high))
    throw Error("HK_ARGUMENT", std::string(name) + " must be a number from " + std::to_string(low) + " to " +
                                   std::to_string(high));
  return x;
}

std::string text(const Napi::Value& value, const char* name) {
  if (!value.IsString()) throw Error("HK_ARGUMENT", std::string(name) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

Channel read_channel(const Napi::Object& o) {
  constexpr double kWhole = 9007199254740991.0;  // 2^53 - 1
  Channel c;
  c.tilt = number(o, "tilt", -0.99, 0.99);
  c.resonance_hz = number(o, "resonanceHz", 20, 7900);
  c.resonance_db = number(o, "resonanceDb", -30, 30);
  c.resonance_q = number(o, "resonanceQ", 0.1, 20);
  c.reverb_seconds = number(o, "reverbSeconds", 0, 2);
  c.reverb_db = number(o, "reverbDb", -100, 20);
  c.noise_colour = number(o, "noiseColour", -0.99, 0.99);
  c.snr_db = number(o, "snrDb", -20, 200);
  c.gain_db = number(o, "gainDb", -60, 26);
  c.seed = (uint64_t)number(o, "seed", 0, kWhole);
  c.draw = (uint64_t)number(o, "draw", 0, kWhole);
  return c;
}

SpeechRequest read_request(const Napi::Object& o) {
  SpeechRequest r;
  r.voice = text(o.Get("voice"), "voice");
  r.text = text(o.Get("text"), "text");
  const bool printable = std::all_of(r.text.begin(), r.text.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (r.text.empty() || r.text.size() > 1000 || !printable)
    throw Error("HK_ARGUMENT", "text must be 1 to 1000 printable ASCII characters");
  r.f0 = number(o, "f0", 50, 500);
  r.f0_range = number(o, "f0Range", 0, 100);
  r.stretch = number(o, "stretch", 0.5, 2);
  r.formant = number(o, "formant", 0.8, 1.25);
  return r;
}

Napi::Array strings(Napi::Env env, const std::vector<std::string>& values) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); i++) array.Set(i, Napi::String::New(env, values[i]));
  return array;
}

Napi::Array numbers(Napi::Env env, const std::vector<double>& values) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); i++) array.Set(i, Napi::Number::New(env, values[i]));
  return array;
}

Napi::Value voices(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value { return strings(info.Env(), speech_voices()); });
}

// renderSpeech(request, channel | null, path): writes the FLAC file, returns its length and alignment.
Napi::Value render(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const SpeechRequest request = read_request(object_at(info, 0, "request"));
    const bool clean = info.Length() > 1 && info[1].IsNull();
    Channel channel{};
    if (!clean) channel = read_channel(object_at(info, 1, "channel"));
    const std::string path = text(info.Length() > 2 ? info[2] : env.Undefined(), "path");

    const Speech speech = synthesise(request);
    write_flac(path, clean ? level(speech.waveform) : apply_channel(speech.waveform, channel));

    Napi::Object result = Napi::Object::New(env);
    result.Set("samples", Napi::Number::New(env, (double)speech.waveform.size()));
    result.Set("phones", strings(env, speech.phones));
    result.Set("phoneEnds", numbers(env, speech.phone_ends));
    result.Set("words", strings(env, speech.words));
    result.Set("wordStarts", numbers(env, speech.word_starts));
    result.Set("wordEnds", numbers(env, speech.word_ends));
    return result;
  });
}

std::vector<float> waveform_at(const Napi::CallbackInfo& info, size_t index) {
  if (info.Length() <= index || !info[index].IsTypedArray() ||
      info[index].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throw Error("HK_ARGUMENT", "waveform must be a Float32Array");
  const Napi::Float32Array input = info[index].As<Napi::Float32Array>();
  if (input.ElementLength() > (1u << 30)) throw Error("HK_ARGUMENT", "waveform is longer than 2^30 samples");
  std::vector<float> waveform(input.Data(), input.Data() + input.ElementLength());
  if (!std::all_of(waveform.begin(), waveform.end(), [](float x) { return std::isfinite(x); }))
    throw Error("HK_ARGUMENT", "waveform has samples that are not finite");
  return waveform;
}

// writeFlac(path, waveform, hz)
Napi::Value flac(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const std::string path = text(info.Length() > 0 ? info[0] : env.Undefined(), "path");
    const double rate = info.Length() > 2 && info[2].IsNumber() ? info[2].As<Napi::Number>().DoubleValue() : 0;
    if (!(rate >= 1000 && rate <= 192000)) throw Error("HK_ARGUMENT", "hz must be a number from 1000 to 192000");
    write_flac(path, waveform_at(info, 1), (int)rate);
    return env.Undefined();
  });
}

// speechChannel(waveform, channel): a new waveform of the same length.
Napi::Value channel(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::vector<float> waveform = waveform_at(info, 0);
    const std::vector<float> y = apply_channel(waveform, read_channel(object_at(info, 1, "channel")));
    Napi::Float32Array output = Napi::Float32Array::New(info.Env(), y.size());
    std::copy(y.begin(), y.end(), output.Data());
    return output;
  });
}

}  // namespace

void init_speech(Napi::Env env, Napi::Object exports) {
  exports.Set("speechVoices", Napi::Function::New(env, voices));
  exports.Set("renderSpeech", Napi::Function::New(env, render));
  exports.Set("writeFlac", Napi::Function::New(env, flac, "writeFlac"));
  exports.Set("speechChannel", Napi::Function::New(env, channel));
}

}  // namespace hk
