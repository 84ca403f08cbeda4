/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Configurations and model folders: the demo model opens, damaged copies say what is wrong. */
#include "tests/unit/tables.h"

#include "engine/audio/whisper.h"
#include "engine/model/config.h"
#include "engine/model/model.h"
#include "engine/model/config-released.h"
#include "engine/weights/weights.h"

#include <gio/gio.h>
#include <glib/gstdio.h>

#define LLAVA_CLIP "\"kind\": \"llava+clip\", "

static const char *const files[] = { "config.json", "transformer.safetensors", "vae.safetensors",
  "whisper_encoder.safetensors", "text_stub.safetensors" };

static char *
read_demo (const char *file, gsize *length)
{
  g_autofree char *path = g_build_filename (AVATAR_PLAIN_DIR, file, NULL);
  char *data;
  GError *error = NULL;

  g_file_get_contents (path, &data, length, &error);
  g_assert_no_error (error);
  return data;
}

/* A copy of the demo model by links; @file is replaced by @data. */
static char *
make_folder (const char *file, const char *data, gsize length)
{
  GError *error = NULL;
  char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", &error);

  g_assert_no_error (error);
  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    g_autofree char *to = g_build_filename (folder, files[i], NULL);
    g_autoptr (GFile) link = g_file_new_for_path (to);
    g_autofree char *from = g_build_filename (AVATAR_PLAIN_DIR, files[i], NULL);

    if (strcmp (files[i], file) != 0)
      g_assert_true (g_file_make_symbolic_link (link, from, NULL, NULL));
    else if (data)
      g_assert_true (g_file_set_contents (to, data, length, NULL));
  }
  return folder;
}

static void
remove_folder (const char *folder)
{
  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    g_autofree char *path = g_build_filename (folder, files[i], NULL);

    g_remove (path);
  }
  g_rmdir (folder);
}

/* Opening the demo model with @file replaced must fail and name @file, @first and @second. */
static void
refuse (const char *file, const char *data, gsize length, gint code, const char *first,
    const char *second)
{
  g_autofree char *folder = make_folder (file, data, length);
  g_autoptr (GError) error = NULL;
  AvatarModel *model = avatar_model_open (folder, &error);

  remove_folder (folder);
  g_assert_null (model);
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, file) || !strstr (error->message, first)
      || !strstr (error->message, second))
    g_error ("expected \"%s\", \"%s\" and \"%s\" in \"%s\"", file, first, second, error->message);
}

/* @data with the first @from replaced by @to, which is as long. */
static void
patch (char *data, gsize length, const char *from, const char *to)
{
  gsize n = strlen (from);

  g_assert_cmpuint (n, ==, strlen (to));
  for (gsize i = 0; i + n <= length; i++)
    if (memcmp (data + i, from, n) == 0) {
      memcpy (data + i, to, n);
      return;
    }
  g_error ("\"%s\" is not in the file", from);
}

static void
test_demo (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_PLAIN_DIR, &error);
  g_autoptr (AvatarModel) again = avatar_model_open (AVATAR_PLAIN_DIR, NULL);
  const AvatarModelInfo *info;

  g_assert_no_error (error);
  info = avatar_model_get_info (model);
  g_assert_cmpuint (info->width, ==, 128);
  g_assert_cmpuint (info->size_multiple, ==, 16);
  g_assert_cmpuint (info->window_latents, ==, 33);
  g_assert_cmpuint (info->feature_states, ==, 4);
  g_assert_cmpuint (strlen (info->hash), ==, 16);
  g_assert_cmpstr (info->hash, ==, avatar_model_get_info (again)->hash);
}

static void
test_bad_folders (void)
{
  gsize length;
  g_autofree char *vae = read_demo ("vae.safetensors", &length);

  /* json-glib would take the quote for a digit, and the string for a longer one */
  refuse ("config.json", "{\"\\uDb5\"\"a\": 1}", 13, AVATAR_ERROR_FORMAT, "backslash", "pair");
  refuse ("config.json", "{\"a\": \"\\ud800x\"}", 15, AVATAR_ERROR_FORMAT, "backslash", "pair");
  refuse ("config.json", NULL, 0, AVATAR_ERROR_NOT_FOUND, "no such file", "model is a folder");
  refuse ("vae.safetensors", NULL, 0, AVATAR_ERROR_NOT_FOUND, "no such file", "");
  refuse ("vae.safetensors", vae, length - 1, AVATAR_ERROR_FORMAT, "truncated", "");
  refuse ("vae.safetensors", vae, 1000, AVATAR_ERROR_FORMAT, "truncated", "");
  refuse ("vae.safetensors", "<html>404", 9, AVATAR_ERROR_FORMAT, "web page", "");
}

static void
test_bad_tensors (void)
{
  gsize length;
  g_autofree char *vae = read_demo ("vae.safetensors", &length);
  g_autofree char *text = read_demo ("text_stub.safetensors", &length);

  patch (text, length, "\"pos_embed\"", "\"pos_embod\"");
  refuse ("text_stub.safetensors", text, length, AVATAR_ERROR_NOT_FOUND, "\"pos_embed\"",
      "[32, 64]");
  patch (text, length, "\"pos_embod\"", "\"pos_embed\"");
  patch (text, length, "[256,64]", "[64,256]");
  refuse ("text_stub.safetensors", text, length, AVATAR_ERROR_MISMATCH, "[64, 256] float32",
      "[256, 64]");
  patch (text, length, "[64,256]", "[256,64]");
  patch (text, length, "\"F32\"", "\"I32\"");
  refuse ("text_stub.safetensors", text, length, AVATAR_ERROR_MISMATCH, "int32", "\"byte_embed\"");
}

static void
test_foreign_tensor (void)
{
  gsize length;
  g_autofree char *config = read_demo ("config.json", &length);

  /* one single block less: its tensors are foreign now */
  patch (config, length, "\"depth_single_blocks\": 6", "\"depth_single_blocks\": 5");
  refuse ("config.json", config, length, AVATAR_ERROR_MISMATCH, "transformer.safetensors",
      "\"single_blocks.5.");
}

/* In the config of the demo model @from becomes @to; the message must name @what. */
static void
refuse_config (const char *from, const char *to, const char *what)
{
  gsize length;
  g_autofree char *text = read_demo ("config.json", &length);
  g_autoptr (GError) error = NULL;
  g_autoptr (GString) changed = g_string_new (text);

  g_assert_cmpuint (g_string_replace (changed, from, to, 1), ==, 1);
  g_assert_null (avatar_config_parse (changed->str, changed->len, "c.json", &error));
  g_assert_nonnull (error);
  g_assert_true (error->domain == AVATAR_ERROR);
  if (!strstr (error->message, what) || !strstr (error->message, "c.json"))
    g_error ("expected \"%s\" in \"%s\"", what, error->message);
}

#define RESIZE(multiple, shorter, longer) \
  "\"resize\": {\"multiple\": " multiple ", \"shorter\": " shorter ", \"longer\": " longer "}"

static void
test_bad_configs (void)
{
  refuse_config ("\"num_heads\": 5", "\"num_heads\": 7", "heads");
  refuse_config ("\"num_heads\": 5", "\"num_heads\": 0", "num_heads");
  refuse_config ("\"num_heads\": 5", "\"num_heads\": \"5\"", "not a number");
  refuse_config ("\"num_heads\": 5", "\"num_heads\": 4.5", "whole number");
  refuse_config ("\"num_heads\": 5", "\"heads\": 5", "missing");
  refuse_config ("\"hidden_size\": 160", "\"hidden_size\": 1e18", "hidden_size");
  refuse_config ("\"hidden_size\": 160", "\"hidden_size\": -160", "hidden_size");
  refuse_config ("\"norm_num_groups\": 8", "\"norm_num_groups\": 5", "groups");
  refuse_config ("\"max_length\": 32", "\"max_length\": 99999999", "max_length");
  refuse_config ("\"max_length\": 32", "\"kind\": \"t5\"", "text.kind");
  refuse_config ("\"max_length\": 32", LLAVA_CLIP "\"template\": \"none\"", "text.template");
  refuse_config ("\"max_length\": 32", LLAVA_CLIP "\"template\": \"{} and {}\"", "text.template");
  refuse_config ("\"max_length\": 32", LLAVA_CLIP "\"template\": \"{0}\"", "text.template");
  refuse_config ("\"max_length\": 32", LLAVA_CLIP "\"suffix\": 3", "text.suffix");
  refuse_config ("\"max_length\": 32", LLAVA_CLIP "\"max_length\": 96", "no ids");
  refuse_config ("\"max_length\": 32", LLAVA_CLIP "\"crop_start\": -1", "crop_start");
  refuse_config ("\"max_source_positions\": 1500", "\"max_source_positions\": 1501", "odd");
  refuse_config ("\"fps\": 25", "\"fps\": 30", "25");
  refuse_config ("\"encoder_layers\": 3", "\"encoder_layers\": 4", "states");
  refuse_config ("\"size\": 128", "\"size\": 130", "multiple of 16");
  refuse_config ("\"size\": 128", "\"size\": 128, " RESIZE ("64", "[128]", "[192]"), "three times");
  refuse_config ("\"size\": 128", "\"size\": 128, " RESIZE ("40", "[128]", "[192]"),
      "resize.multiple 40");
  refuse_config ("\"size\": 128", "\"size\": 128, " RESIZE ("32", "[128]", "[112]"), "above");
  refuse_config ("\"size\": 128", "\"size\": 128, " RESIZE ("32", "[128, 96]", "[192]"), "pairs");
  refuse_config ("\"size\": 128", "\"size\": 128, " RESIZE ("32", "[128]", "[9999]"), "longer");
  refuse_config ("\"size\": 128", "\"size\": 128, \"resize\": 3", "video.resize");
  refuse_config ("\"frames\": 129", "\"frames\": 130", "4n + 1");
  refuse_config ("\"guidance_embed\": false", "\"guidance_embed\": true", "guidance_embed");
  refuse_config ("\"activation_function\": \"gelu\"", "\"activation_function\": \"relu\"", "relu");
  refuse_config ("\"face_mask_area\": 1.3", "\"face_mask_area\": 1.3, \"portrait_psnr\": -1",
      "portrait_psnr");
  refuse_config ("\"vae\": {", "\"vea\": {", "\"vae\"");
  refuse_config ("\"name\": \"toonhead-demo\"", "\"name\": 3", "name");
  refuse_config ("   1,\n   3\n", "   3,\n   1\n", "double_stream_list");
}

/* Missing values of the prompt in a configuration default to upstream's. */
static void
test_text_config (void)
{
  gsize length;
  g_autofree char *text = read_demo ("config.json", &length);
  g_autoptr (GString) changed = g_string_new (text);
  g_autoptr (AvatarConfig) released = avatar_config_released ();
  g_autoptr (AvatarConfig) config = NULL;

  g_assert_cmpuint (released->text.kind, ==, AVATAR_TEXT_LLAVA_CLIP);
  g_assert_cmpuint (released->text.max_length, ==, 351);
  g_assert_cmpuint (released->text.max_states, ==, 831);
  g_assert_cmpstr (released->text.template_tail, ==, "<|eot_id|>");
  g_assert_true (g_str_has_suffix (released->text.template_head, "<|end_header_id|>\n\n"));

  g_string_replace (changed, "\"max_length\": 32", LLAVA_CLIP "\"crop_start\": 20", 1);
  config = avatar_config_parse (changed->str, changed->len, "c.json", NULL);
  g_assert_nonnull (config);
  g_assert_cmpuint (config->text.max_length, ==, 276);
  g_assert_cmpuint (config->text.max_states, ==, 831);
  g_assert_cmpuint (config->text.clip_length, ==, 77);
  g_assert_cmpstr (config->text.suffix, ==, released->text.suffix);
}

static void
test_weights (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_PLAIN_DIR, NULL);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  const AvatarWhisperConfig *config = &avatar_model_get_config (model)->whisper;
  g_autoptr (AvatarWhisperWeights) a = avatar_whisper_weights_new (config);
  g_autoptr (AvatarWhisperWeights) b = avatar_whisper_weights_new (config);
  g_autoptr (AvatarWeights) weights = avatar_weights_new (model, device, AVATAR_COMPONENT_WHISPER,
      a->list, NULL, AVATAR_WEIGHTS_LOAD, &error);
  g_autoptr (AvatarWeights) dry_run = avatar_weights_new (model, device, AVATAR_COMPONENT_WHISPER,
      b->list, NULL, AVATAR_WEIGHTS_SHAPES_ONLY, NULL);
  AvatarMemory memory;
  AvatarTensor t;

  g_assert_no_error (error);
  avatar_device_get_memory (device, &memory);
  g_assert_cmpuint (memory.now, ==, avatar_weights_fixed_bytes (weights));
  g_assert_cmpuint (avatar_weights_fixed_bytes (dry_run), ==, avatar_weights_fixed_bytes (weights));
  t = avatar_weight_tensor (a->layers[2].fc1.weight);
  g_assert_cmpint (t.dtype, ==, AVATAR_F32);
  g_assert_cmpint (t.shape[0], ==, 256);
  g_assert_nonnull (t.data);
  g_assert_null (avatar_weight_tensor (b->conv1.weight).data);
  g_assert_false (avatar_tensor_is_set (avatar_weight_tensor (a->layers[0].k.bias)));
}

static void
test_budget (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_PLAIN_DIR, NULL);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autoptr (AvatarWhisperWeights) names
      = avatar_whisper_weights_new (&avatar_model_get_config (model)->whisper);
  AvatarMemory memory;

  avatar_device_set_budget (device, 1000);
  g_assert_null (avatar_weights_new (model, device, AVATAR_COMPONENT_WHISPER, names->list, NULL,
      AVATAR_WEIGHTS_LOAD, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  avatar_device_get_memory (device, &memory);
  g_assert_cmpuint (memory.now, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/model/demo", test_demo);
  g_test_add_func ("/model/bad-folders", test_bad_folders);
  g_test_add_func ("/model/bad-tensors", test_bad_tensors);
  g_test_add_func ("/model/foreign-tensor", test_foreign_tensor);
  g_test_add_func ("/model/bad-configs", test_bad_configs);
  g_test_add_func ("/model/text-config", test_text_config);
  g_test_add_func ("/model/weights", test_weights);
  g_test_add_func ("/model/budget", test_budget);
  return g_test_run ();
}
