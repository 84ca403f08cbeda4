/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Layouts: weights/ckpts/{hunyuan-video-t2v-720p/{transformers,vae},whisper-tiny,...} as released,
 * and Wan2GP's ckpts/, in which the transformer and the VAE are in the top folder. */
#include "engine/model/layout-table.h"

#define VIDEO "hunyuan-video-t2v-720p"
/* Patterns of text encoder files of other projects (ComfyUI, llama.cpp). */
#define OTHERS                \
  {                           \
    "*.safetensors", "*.gguf" \
  }
#define VISION                              \
  {                                         \
    "*vision*.safetensors", "*mmproj*.gguf" \
  }
#define WAN2GP_LLAVA "llava-llama-3-8b-v1_1_vlm_"

const AvatarLayoutForm avatar_layout_forms[AVATAR_LAYOUT_FORMS] = {
  {
      .id = "released",
      .description = "the tree of the release",
      .source = "tencent/HunyuanVideo-Avatar",
      .above = "weights/ckpts/",
      .transformers = VIDEO "/transformers",
      .pattern = "*.pt",
      .transformer_files = { "mp_rank_00_model_states.pt", "mp_rank_00_model_states_fp8.pt" },
      .transformer_names = { "transformer", "transformer (fp8)" },
      .vae = VIDEO "/vae",
      .vae_config = "config.json",
      .vae_files = { "pytorch_model.pt", "diffusion_pytorch_model.safetensors" },
      .whisper = "whisper-tiny",
      .whisper_config = "config.json",
      .whisper_files = { "model.safetensors", "pytorch_model.bin" },
      .llava = { "llava_llama_image",
          { "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin" }, OTHERS,
          VISION, { "config.json", "tokenizer.json" } },
      .clip = { "text_encoder_2", { "model.safetensors", "pytorch_model.bin" }, OTHERS, VISION,
          { "config.json", "vocab.json", "merges.txt" } },
      .detector = "det_align/detface.pt",
  },
  {
      .id = "wan2gp",
      .description = "Wan2GP's folder",
      .source = "DeepBeepMeep/HunyuanVideo",
      .above = "",
      .transformers = "",
      .pattern = "hunyuan_video_avatar*.safetensors",
      .transformer_files = { "hunyuan_video_avatar_720_bf16.safetensors",
          "hunyuan_video_avatar_720_quanto_bf16_int8.safetensors" },
      .transformer_names = { "transformer", "transformer (int8)" },
      .vae = "",
      .vae_config = "hunyuan_video_custom_VAE_config.json",
      .vae_files = { "hunyuan_video_custom_VAE_fp32.safetensors" },
      .whisper = "whisper-tiny",
      .whisper_config = "config.json",
      .whisper_files = { "model.safetensors" },
      .llava = { "llava-llama-3-8b",
          { WAN2GP_LLAVA "fp16.safetensors", WAN2GP_LLAVA "quanto_int8.safetensors" }, OTHERS,
          VISION, { "config.json", "tokenizer.json" } },
      .clip = { "clip_vit_large_patch14", { "model.safetensors" }, OTHERS, VISION,
          { "text_config.json", "vocab.json", "merges.txt" } },
      .detector = "det_align/detface.pt",
  },
  {
      .id = "packed",
      .description = "a packed folder",
      .source = "the folder that avatar-pack made",
      .above = "",
      .transformers = "",
      .pattern = "transformer.safetensors",
      .transformer_files = { "transformer.safetensors" },
      .transformer_names = { "transformer" },
      .mark = AVATAR_LAYOUT_CONFIG,
      .vae = "",
      .vae_files = { "vae.safetensors" },
      .whisper = "",
      .whisper_files = { "whisper_encoder.safetensors" },
      .text = "text_stub.safetensors",
      .llava = { "llava_llama_image", { "model.safetensors" }, { NULL }, { NULL },
          { "config.json", "tokenizer.json" } },
      .clip = { "text_encoder_2", { "model.safetensors" }, { NULL }, { NULL },
          { "config.json", "vocab.json", "merges.txt" } },
      .detector = AVATAR_PLAIN_DETECTOR,
  },
};

static gboolean
has (const char *top, const char *folder, const char *file, GFileTest test)
{
  g_autofree char *path = g_build_filename (top, folder ? folder : "", file, NULL);

  return g_file_test (path, test);
}

gboolean
avatar_layout_has_transformer (const AvatarLayoutForm *form, const char *top)
{
  if (form->mark && !has (top, NULL, form->mark, G_FILE_TEST_EXISTS))
    return FALSE;
  for (guint i = 0; form->transformer_files[i]; i++)
    if (has (top, form->transformers, form->transformer_files[i], G_FILE_TEST_IS_REGULAR))
      return TRUE;
  return FALSE;
}

gboolean
avatar_layout_has_any_file (const AvatarLayoutForm *form, const char *top)
{
  const char *const folders[]
      = { form->transformers, form->vae, form->llava.folder, form->clip.folder };

  if (form->mark && !has (top, NULL, form->mark, G_FILE_TEST_EXISTS))
    return FALSE;
  if (avatar_layout_has_transformer (form, top))
    return TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (folders); i++)
    if (folders[i][0] && has (top, folders[i], NULL, G_FILE_TEST_IS_DIR))
      return TRUE;
  if (!form->vae[0])
    return has (top, form->vae_files[0], NULL, G_FILE_TEST_EXISTS);
  /* Both layouts have these two files; they identify the release. */
  return has (top, form->whisper, NULL, G_FILE_TEST_IS_DIR)
      || has (top, "det_align", NULL, G_FILE_TEST_IS_DIR);
}
