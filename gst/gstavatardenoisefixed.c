/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties of avatardenoise for attention and for comparisons. */
#include "gst/gstavatardenoiseids.h"
#include "gst/gstavatarenums.h"

#include <avatar/avatar.h>

static void
install_attention (GObjectClass *klass)
{
  /**
   * GstAvatarDenoise:attention:
   *
   * Attention between the tokens of a window. Sparse attention is faster for large or long windows
   * and changes the picture.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_ATTENTION,
      g_param_spec_enum ("attention", "Attention",
          "Attention between the tokens of a window; sparse is faster for large windows and changes "
          "the picture",
          GST_TYPE_AVATAR_ATTENTION, AVATAR_ATTENTION_DENSE, GST_AVATAR_DENOISE_FIXED));
  /**
   * GstAvatarDenoise:attention-tau:
   *
   * Number of standard deviations by which the mean score of a block of keys must exceed the
   * average of all blocks for attention=sparse to compute it exactly.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_ATTENTION_TAU,
      g_param_spec_double ("attention-tau", "Attention tau",
          "Standard deviations above the average score from which attention=sparse computes a block "
          "exactly; larger is faster and less exact; -1 = the default, 1",
          -1.0, 100.0, -1.0, GST_AVATAR_DENOISE_FIXED));
  /**
   * GstAvatarDenoise:attention-dense-steps:
   *
   * Share of the denoising steps, from the first, that attention=sparse leaves dense.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_ATTENTION_DENSE_STEPS,
      g_param_spec_double ("attention-dense-steps", "Attention dense steps",
          "Share of the denoising steps, from the first, that attention=sparse leaves dense; -1 = the "
          "default, 0.2",
          -1.0, 1.0, -1.0, GST_AVATAR_DENOISE_FIXED));
  /**
   * GstAvatarDenoise:attention-dense-layers:
   *
   * Number of blocks of the transformer, from the first, that attention=sparse leaves dense.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_ATTENTION_DENSE_LAYERS,
      g_param_spec_uint ("attention-dense-layers", "Attention dense layers",
          "Blocks of the transformer, from the first, that attention=sparse leaves dense", 0, 1000,
          1, GST_AVATAR_DENOISE_FIXED));
}

static void
install_comparison (GObjectClass *klass)
{
  /**
   * GstAvatarDenoise:noise-location:
   *
   * Path of a safetensors or PyTorch file with one tensor, the initial noise: [channels, frames,
   * height, width] in latents, with an optional leading dimension of 1. It replaces the noise that
   * #GstAvatarDenoise:seed makes.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_NOISE,
      g_param_spec_string ("noise-location", "Noise location",
          "Path of a tensor file with the initial noise, [channels, frames, height, width] with an "
          "optional leading dimension of 1; overrides seed; unset = noise from seed",
          NULL, GST_AVATAR_DENOISE_FIXED));
  /**
   * GstAvatarDenoise:posterior-noise:
   *
   * Reference latent: "mode" is the mean of the portrait's posterior; "seeded" draws one sample per
   * latent frame from #GstAvatarDenoise:seed; any other value is the path of a file with noise, as
   * in #GstAvatarDenoise:noise-location. HunyuanVideo-Avatar draws a sample without a seed.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_POSTERIOR_NOISE,
      g_param_spec_string ("posterior-noise", "Posterior noise",
          "Reference latent: mode = the posterior mean, seeded = one sample per latent frame from seed, "
          "or the path of a tensor file with noise; unset = mode",
          NULL, GST_AVATAR_DENOISE_FIXED));
  /**
   * GstAvatarDenoise:upstream-rounding:
   *
   * Rounds values between the networks to 16 bits, as HunyuanVideo-Avatar does.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_UPSTREAM_ROUNDING,
      g_param_spec_boolean ("upstream-rounding", "Upstream rounding",
          "Round values between the networks to 16 bits, as HunyuanVideo-Avatar does; for comparisons",
          FALSE, GST_AVATAR_DENOISE_FIXED));
  /**
   * GstAvatarDenoise:exact-rope:
   *
   * Computes the rotary positions of prompts in full precision. By default they are rounded to 16
   * bits, as they were when the transformer was trained. Models without a text encoder ignore it.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_EXACT_ROPE,
      g_param_spec_boolean ("exact-rope", "Exact rotary embedding",
          "Compute rotary positions of prompts in full precision instead of the 16-bit rounding that the "
          "transformer was trained with; for models with a text encoder",
          FALSE, GST_AVATAR_DENOISE_FIXED));
}

void
gst_avatar_denoise_install_fixed (GObjectClass *klass)
{
  install_attention (klass);
  install_comparison (klass);
}
