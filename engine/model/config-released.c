/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* HunyuanVideo-Avatar as released (docs/dev/spec/denoise.md 0, 2.1, 4.1;
 * docs/dev/spec/vae-text-face-formats.md 1.1; Whisper tiny), in the form of a config.json. */
#include "engine/model/config-released.h"

static const char json[]
    = "{"
      "\"name\": \"HunyuanVideo-Avatar\","
      "\"video\": {\"size\": 704, \"fps\": 25, \"frames\": 129, \"sample_rate\": 16000,"
      "  \"resize\": {\"multiple\": 64, \"shorter\": [704, 512, 384, 256],"
      "    \"longer\": [1216, 768, 576, 384]}},"
      "\"vae\": {\"in_channels\": 3, \"out_channels\": 3, \"latent_channels\": 16,"
      "  \"block_out_channels\": [128, 256, 512, 512], \"layers_per_block\": 2,"
      "  \"norm_num_groups\": 32, \"act_fn\": \"silu\", \"spatial_compression_ratio\": 8,"
      "  \"time_compression_ratio\": 4, \"mid_block_add_attention\": true,"
      "  \"mid_block_causal_attn\": true, \"sample_size\": 256, \"sample_tsize\": 64,"
      "  \"scaling_factor\": 0.476986, \"shift_factor\": null},"
      "\"whisper\": {\"num_mel_bins\": 80, \"d_model\": 384, \"encoder_layers\": 4,"
      "  \"encoder_attention_heads\": 6, \"encoder_ffn_dim\": 1536, \"max_source_positions\": 1500,"
      "  \"activation_function\": \"gelu\"},"
      "\"transformer\": {\"patch_size\": [1, 2, 2], \"in_channels\": 16, \"out_channels\": 16,"
      "  \"hidden_size\": 3072, \"num_heads\": 24, \"mlp_width_ratio\": 4.0,"
      "  \"depth_double_blocks\": 20, \"depth_single_blocks\": 40, \"rope_dim_list\": [16, 56, 56],"
      "  \"rope_theta\": 256, \"qkv_bias\": true, \"qk_norm\": true, \"text_states_dim\": 4096,"
      "  \"text_states_dim_2\": 768, \"refiner_depth\": 2, \"guidance_embed\": false,"
      "  \"audio_proj\": {\"seq_len\": 10, \"blocks\": 5, \"channels\": 384,"
      "    \"intermediate_dim\": 1024, \"context_tokens\": 4},"
      "  \"audio_adapter_dim\": 1024,"
      "  \"double_stream_list\": [1, 3, 5, 7, 9, 11, 13, 15, 17, 19],"
      "  \"frequency_embedding_size\": 256},"
      "\"text\": {\"kind\": \"llava+clip\", \"crop_start\": 95, \"max_length\": 351,"
      "  \"image_tokens\": 576, \"clip_length\": 77},"
      "\"defaults\": {\"infer_steps\": 50, \"flow_shift\": 5.0, \"flow_reverse\": true,"
      "  \"cfg_scale\": 7.5, \"motion_pose\": 25, \"motion_exp\": 30, \"fps\": 25,"
      "  \"face_mask_area\": 3.0, \"vae_tiling\": true}}";

const char *
avatar_config_released_json (void)
{
  return json;
}

AvatarConfig *
avatar_config_released (void)
{
  GError *error = NULL;
  AvatarConfig *config = avatar_config_parse (json, sizeof json - 1, AVATAR_RELEASED, &error);

  if (!config)
    g_error ("the built-in configuration is broken: %s", error->message);
  return config;
}
