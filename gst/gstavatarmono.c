/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mixing to mono: see the header. */
#include "gst/gstavatarmono.h"

#include <avatar/error.h>
#include <math.h>
#include <string.h>

/* Number of frames that are mixed at once. */
#define PIECE 512
/* GstAudioChannelMixer supports fewer channels than this. */
#define MAX_MIXER_CHANNELS 64
#define AVERAGING_TIME 0.05
/* Ratios of power: -20 dB, -10 dB, and -50 dBFS. */
#define CANCELLED 0.01
#define SOUND_AGAIN 0.1
#define LOUD 1e-5

struct _GstAvatarMono
{
  GstAudioInfo info;
  GstAudioChannelMixer *mixer; /* %NULL: average of the channels */
  float *samples;              /* [PIECE, channels] */

  double weight;    /* weight of a new sample in the running averages */
  double mix_power; /* running average of the mix */
  double *powers;   /* running averages [channels] */
  gboolean cancels;
  guint channel; /* the loudest one, used while the channels cancel */
  guint64 n_cancelled;
};

GstAvatarMono *
gst_avatar_mono_new (void)
{
  GstAvatarMono *self = g_new0 (GstAvatarMono, 1);

  gst_audio_info_init (&self->info);
  return self;
}

static void
clear (GstAvatarMono *self)
{
  g_clear_pointer (&self->mixer, gst_audio_channel_mixer_free);
  g_clear_pointer (&self->samples, g_free);
  g_clear_pointer (&self->powers, g_free);
  self->mix_power = 0;
  self->cancels = FALSE;
  self->channel = 0;
  self->n_cancelled = 0;
}

void
gst_avatar_mono_free (GstAvatarMono *self)
{
  clear (self);
  g_free (self);
}

static void
set_info (GstAvatarMono *self, const GstAudioInfo *info)
{
  GstAudioChannelPosition mono[1] = { GST_AUDIO_CHANNEL_POSITION_MONO };
  gint channels = GST_AUDIO_INFO_CHANNELS (info);

  clear (self);
  self->info = *info;
  self->samples = g_new (float, (gsize) PIECE *channels);
  self->powers = g_new0 (double, channels);
  self->weight = 1.0 / (AVERAGING_TIME * GST_AUDIO_INFO_RATE (info));
  if (!GST_AUDIO_INFO_IS_UNPOSITIONED (info) && channels > 1 && channels < MAX_MIXER_CHANNELS)
    self->mixer = gst_audio_channel_mixer_new (GST_AUDIO_CHANNEL_MIXER_FLAGS_NONE,
        GST_AUDIO_FORMAT_F32, channels, self->info.position, 1, mono);
}

gboolean
gst_avatar_mono_set_caps (GstAvatarMono *self, GstCaps *caps)
{
  g_autoptr (GstCaps) copy = gst_caps_copy (caps);
  GstStructure *structure = gst_caps_get_structure (copy, 0);
  gint channels = 0;
  GstAudioInfo info;

  gst_structure_get_int (structure, "channels", &channels);
  if (channels > 2 && !gst_structure_has_field (structure, "channel-mask"))
    gst_structure_set (structure, "channel-mask", GST_TYPE_BITMASK, G_GUINT64_CONSTANT (0), NULL);
  if (!gst_audio_info_from_caps (&info, copy))
    return FALSE;
  set_info (self, &info);
  return TRUE;
}

gsize
gst_avatar_mono_get_frame_size (const GstAvatarMono *self)
{
  return GST_AUDIO_INFO_BPF (&self->info);
}

static void
read_samples (GstAvatarMono *self, gconstpointer data, gsize n, float *samples)
{
  if (GST_AUDIO_INFO_FORMAT (&self->info) == GST_AUDIO_FORMAT_F32)
    memcpy (samples, data, n * sizeof (float));
  else
    for (gsize i = 0; i < n; i++)
      samples[i] = (float) ((const gint16 *) data)[i] / 32768.0f;
}

static void
average (const float *samples, gsize n, guint channels, float *mono)
{
  for (gsize i = 0; i < n; i++) {
    double sum = 0;
    for (guint c = 0; c < channels; c++)
      sum += samples[i * channels + c];
    mono[i] = (float) (sum / channels);
  }
}

/* Updates the running average @power with a sample. A sample that is not finite counts as
 * silence. */
static double
follow (double power, float sample, double weight)
{
  double square = isfinite (sample) ? (double) sample * sample : 0;

  return power + weight * (square - power);
}

static guint
loudest (const double *powers, guint channels)
{
  guint best = 0;

  for (guint c = 1; c < channels; c++)
    if (powers[c] > powers[best])
      best = c;
  return best;
}

/* Returns the output for a frame: @mix, or a sample of the loudest channel while the channels
 * cancel. */
static float
pick (GstAvatarMono *self, const float *samples, guint channels, float mix)
{
  double mean = 0;

  self->mix_power = follow (self->mix_power, mix, self->weight);
  for (guint c = 0; c < channels; c++) {
    self->powers[c] = follow (self->powers[c], samples[c], self->weight);
    mean += self->powers[c] / channels;
  }
  if (mean >= LOUD) {
    gboolean cancels = self->mix_power < (self->cancels ? SOUND_AGAIN : CANCELLED) * mean;
    if (cancels && !self->cancels)
      self->channel = loudest (self->powers, channels);
    self->cancels = cancels;
    self->n_cancelled = cancels ? self->n_cancelled + 1 : 0;
  }
  return self->cancels ? samples[self->channel] : mix;
}

static void
run_piece (GstAvatarMono *self, gconstpointer data, gsize n, float *mono)
{
  guint channels = GST_AUDIO_INFO_CHANNELS (&self->info);
  gpointer in[1] = { self->samples }, out[1] = { mono };

  read_samples (self, data, n * channels, self->samples);
  if (self->mixer)
    gst_audio_channel_mixer_samples (self->mixer, in, out, (gint) n);
  else
    average (self->samples, n, channels, mono);
  for (gsize i = 0; i < n; i++)
    mono[i] = pick (self, self->samples + i * channels, channels, mono[i]);
}

const float *
gst_avatar_mono_run (GstAvatarMono *self, gconstpointer data, gsize n, float **allocated)
{
  gboolean one = GST_AUDIO_INFO_CHANNELS (&self->info) == 1;
  float *mono;

  if (one && GST_AUDIO_INFO_FORMAT (&self->info) == GST_AUDIO_FORMAT_F32)
    return data;
  mono = *allocated = g_new (float, n);
  if (one)
    read_samples (self, data, n, mono);
  for (gsize at = 0; !one && at < n; at += PIECE)
    run_piece (self, (const guint8 *) data + at * GST_AUDIO_INFO_BPF (&self->info),
        MIN (n - at, PIECE), mono + at);
  return mono;
}

GError *
gst_avatar_mono_check (const GstAvatarMono *self, GstClockTime patience)
{
  gint rate = GST_AUDIO_INFO_RATE (&self->info);

  if (self->n_cancelled == 0
      || gst_util_uint64_scale_int (self->n_cancelled, GST_SECOND, rate) < patience)
    return NULL;
  return g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
      "the %d channels cancel each other out: their mix is 20 dB below their level; expected channels "
      "in phase: channel %u is used alone instead; invert one channel, or pass on a single one",
      GST_AUDIO_INFO_CHANNELS (&self->info), self->channel + 1);
}
