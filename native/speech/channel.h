// What lies between a mouth and a file: microphone, room, noise, level. A synthetic voice says every phone in almost the same way
// each time, so that even MFCCs tell phones apart far better than in real recordings; a random channel for each utterance brings that
// back to what real speech shows.
#pragma once
#include <cstdint>
#include <vector>

namespace hk {

struct Channel {
  double tilt;             // y[t] = x[t] - tilt x[t-1]: above 0 brighter, below 0 duller
  double resonance_hz;     // a peak (or dip) of the microphone ...
  double resonance_db;     // ... its height ...
  double resonance_q;      // ... and its centre frequency over its width
  double reverb_seconds;   // T60: the time in which the room's echo falls by 60 dB
  double reverb_db;        // energy of the echo relative to the direct sound
  double noise_colour;     // n[t] = white + colour n[t-1]: 0 white, .9 rumble, below 0 hiss
  double snr_db;           // active speech power over noise power
  double gain_db;          // level of the active speech relative to -26 dB of full scale
  uint64_t seed, draw;     // key of the room's echoes and the noise
};

// Active speech at -26 dB of full scale, lower when a peak would exceed .98. Nothing else changes.
std::vector<float> level(const std::vector<float>& waveform);

// The waveform through the channel: same length, the direct sound first (times stay valid), no sample above .98.
std::vector<float> apply_channel(const std::vector<float>& waveform, const Channel& channel);

// Mean power of the 20 ms frames that are within 30 dB of the loudest one; 0 for silence.
double active_power(const std::vector<float>& waveform);

}  // namespace hk
