/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Binding of names to handles: every tensor of the manifest is bound exactly once and nothing else
 * is bound. Group and class equal those that this test derives from the name. A name that is not in
 * the file is an error when the weights are opened. */
#include "engine/audio/whisper.h"
#include "engine/denoise/transformer-private.h"
#include "engine/model/config-released.h"
#include "engine/model/manifest.h"
#include "engine/model/model.h"
#include "engine/text/clip.h"
#include "engine/text/llava.h"
#include "engine/weights/weights.h"

#include <stdio.h>
#include <string.h>

#define NOWHERE (G_MAXUINT - 1) /* in the manifest, but read by the stage itself */

typedef guint (*GroupOf) (const char *name, const AvatarConfig *config);

static gboolean
begins (const char *name, const char *const *prefixes)
{
  for (; *prefixes; prefixes++)
    if (g_str_has_prefix (name, *prefixes))
      return TRUE;
  return FALSE;
}

static guint
transformer_block_group (const char *name, const AvatarTransformerConfig *c)
{
  static const char *const attention[] = { "norm1.", "self_attn_", "adaLN_modulation.", NULL };
  static const char *const window[] = { "norm1.", "to_kv.", NULL };
  guint i;
  int n = 0;

  if (sscanf (name, "double_blocks.%u.%n", &i, &n) == 1 && n) {
    guint text = g_str_has_prefix (name + n, "txt_");

    if (strstr (name, "_mod."))
      return avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_MOD_DOUBLE, 2 * i + text);
    return avatar_transformer_weight_group (c,
        text ? AVATAR_WEIGHT_GROUP_DOUBLE_TXT : AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i);
  }
  if (sscanf (name, "single_blocks.%u.%n", &i, &n) == 1 && n)
    return avatar_transformer_weight_group (c,
        strstr (name, ".modulation.") ? AVATAR_WEIGHT_GROUP_MOD_SINGLE : AVATAR_WEIGHT_GROUP_SINGLE,
        i);
  if (sscanf (name, "audio_adapter_blocks.%u.%n", &i, &n) == 1 && n)
    return begins (name + n, window)
        ? avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_AUDIO_KV, 0)
        : avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, c->adapter_after[i]);
  if (sscanf (name, "txt_in.individual_token_refiner.blocks.%u.%n", &i, &n) == 1 && n)
    return avatar_transformer_weight_group (c,
        begins (name + n, attention) ? AVATAR_WEIGHT_GROUP_TEXT_ATTENTION
                                     : AVATAR_WEIGHT_GROUP_TEXT_MLP,
        i);
  return AVATAR_WEIGHT_GROUP_FIXED;
}

static guint
transformer_group (const char *name, const AvatarConfig *config)
{
  static const struct
  {
    const char *prefix;
    AvatarWeightGroupKind kind;
  } outer[] = {
    { "time_in.", AVATAR_WEIGHT_GROUP_EMBED },
    { "vector_in.", AVATAR_WEIGHT_GROUP_EMBED },
    { "motion_exp.", AVATAR_WEIGHT_GROUP_EMBED },
    { "motion_pose.", AVATAR_WEIGHT_GROUP_EMBED },
    { "fps_proj.", AVATAR_WEIGHT_GROUP_EMBED },
    { "ref_in.", AVATAR_WEIGHT_GROUP_REFERENCE },
    { "before_proj.", AVATAR_WEIGHT_GROUP_REFERENCE },
    { "txt_in.input_embedder.", AVATAR_WEIGHT_GROUP_TEXT },
    { "txt_in.t_embedder.", AVATAR_WEIGHT_GROUP_TEXT },
    { "txt_in.c_embedder.", AVATAR_WEIGHT_GROUP_TEXT },
    { "audio_proj.", AVATAR_WEIGHT_GROUP_AUDIO },
    { "final_layer.adaLN_modulation.", AVATAR_WEIGHT_GROUP_MOD_FINAL },
  };

  for (guint i = 0; i < G_N_ELEMENTS (outer); i++)
    if (g_str_has_prefix (name, outer[i].prefix))
      return avatar_transformer_weight_group (&config->transformer, outer[i].kind, 0);
  return transformer_block_group (name, &config->transformer);
}

static guint
whisper_group (const char *name, const AvatarConfig *config)
{
  return AVATAR_WEIGHT_GROUP_FIXED;
}

static guint
llava_group (const char *name, const AvatarConfig *config)
{
  static const struct
  {
    const char *prefix;
    guint step;
  } steps[]
      = { { "mlp.up_proj.", 2 }, { "mlp.down_proj.", 3 }, { "mlp.", 1 }, { "post_attention_", 1 } };
  guint i, projector = config->llava.vision.layers;
  int n = 0;

  if (sscanf (name, "vision_tower.vision_model.encoder.layers.%u.", &i) == 1)
    return 1 + i;
  if (g_str_has_prefix (name, "multi_modal_projector."))
    return projector;
  if (strcmp (name, AVATAR_COMPONENT_VOCABULARY) == 0)
    return NOWHERE;
  if (sscanf (name, "language_model.model.layers.%u.%n", &i, &n) != 1)
    return 0;
  for (guint k = 0; k < G_N_ELEMENTS (steps); k++)
    if (g_str_has_prefix (name + n, steps[k].prefix))
      return projector + 1 + 4 * i + steps[k].step;
  return projector + 1 + 4 * i;
}

static guint
clip_group (const char *name, const AvatarConfig *config)
{
  guint i;

  if (sscanf (name, "encoder.layers.%u.", &i) == 1)
    return i;
  return g_str_has_prefix (name, "embeddings.") ? NOWHERE : AVATAR_WEIGHT_GROUP_FIXED;
}

/* Returns TRUE if the matrix that a bias belongs to is in @manifest. */
static gboolean
is_matrix_bias (GArray *manifest, const char *name)
{
  gsize n = strlen (name);

  if (!g_str_has_suffix (name, ".bias"))
    return FALSE;
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);

    if (strncmp (e->name, name, n - 4) == 0 && strcmp (e->name + n - 4, "weight") == 0)
      return e->rank >= 2;
  }
  return FALSE;
}

static AvatarWeightClass
class_of (GArray *manifest, const AvatarManifestEntry *e)
{
  static const char *const blocks[] = { "double_blocks.", "single_blocks.", NULL };

  if (e->rank < 2)
    return is_matrix_bias (manifest, e->name) ? AVATAR_WEIGHT_CLASS_ACTIVATION
                                              : AVATAR_WEIGHT_CLASS_F32;
  if (!begins (e->name, blocks))
    return AVATAR_WEIGHT_CLASS_ACTIVATION;
  return strstr (e->name, "_mod.") || strstr (e->name, ".modulation.")
      ? AVATAR_WEIGHT_CLASS_STORED_8BIT
      : AVATAR_WEIGHT_CLASS_QUANTISABLE;
}

static void
compare (const AvatarWeightList *list, const AvatarConfig *config, AvatarComponentKind part,
    GroupOf group_of)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (config, part);
  g_autoptr (GHashTable) found = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GHashTable) handles = g_hash_table_new (NULL, NULL);
  guint n = 0;

  for (guint i = 0; i < list->entries->len; i++) {
    const AvatarWeightEntry *e = avatar_weight_list_nth (list, i);

    g_assert_true (g_hash_table_insert (found, e->name, (gpointer) e));
    g_assert_true (g_hash_table_add (handles, e->handle));
  }
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    const AvatarWeightEntry *bound = g_hash_table_lookup (found, e->name);
    guint group = group_of (e->name, config);

    if (group == NOWHERE) {
      g_assert_null (bound);
      continue;
    }
    n++;
    if (!bound || bound->group != group || bound->storage != class_of (manifest, e))
      g_error ("%s of the %s: group %u and class %d, expected %u and %d", e->name,
          avatar_component_name (part), bound ? bound->group : 0,
          bound ? (gint) bound->storage : -1, group, class_of (manifest, e));
  }
  g_assert_cmpuint (n, ==, list->entries->len);
}

static void
compare_all (const AvatarConfig *config)
{
  g_autoptr (AvatarTransformerWeights) transformer
      = avatar_transformer_weights_new (&config->transformer);
  g_autoptr (AvatarWhisperWeights) whisper = avatar_whisper_weights_new (&config->whisper);
  g_autoptr (AvatarLlavaWeights) llava = NULL;
  g_autoptr (AvatarClipWeights) clip = NULL;

  compare (transformer->list, config, AVATAR_COMPONENT_TRANSFORMER, transformer_group);
  compare (whisper->list, config, AVATAR_COMPONENT_WHISPER, whisper_group);
  if (config->llava.layers > 0) {
    llava = avatar_llava_weights_new (&config->llava);
    compare (llava->list, config, AVATAR_COMPONENT_LLAVA, llava_group);
  }
  if (config->clip.tower.layers > 0) {
    clip = avatar_clip_weights_new (&config->clip);
    compare (clip->list, config, AVATAR_COMPONENT_CLIP, clip_group);
  }
}

static void
test_released (void)
{
  g_autoptr (AvatarConfig) config = avatar_config_released ();

  g_assert_cmpuint (config->llava.layers, >, 0);
  g_assert_cmpuint (config->clip.tower.layers, >, 0);
  compare_all (config);
}

static void
test_demo (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, &error);

  g_assert_no_error (error);
  compare_all (avatar_model_get_config (model));
}

typedef struct
{
  AvatarModuleWeights right, wrong;
} Block;

/* One module that is there and one that is not, in every kind of memory and in a dry run. */
static void
test_wrong_name (gconstpointer device_name)
{
  static const AvatarWeightRow rows[] = { AVATAR_WEIGHT_ROW (Block, right, "right", LINEAR, 0),
    AVATAR_WEIGHT_ROW (Block, wrong, "wrong", NORM, 0) };
  const AvatarWeightTable good = { rows, 1 }, bad = { rows, 2 };
  const AvatarWeightTable *const tables[] = { &bad, &good };
  const guint groups[] = { AVATAR_WEIGHT_GROUP_FIXED };
  static const float values[16] = { 1, 2, 3 };
  static const gint64 shape[] = { 4, 4 };
  g_autoptr (GBytes) bytes = g_bytes_new_static (values, sizeof values);
  AvatarTensorSource matrix = avatar_tensor_source_in_bytes (bytes, 0, AVATAR_F32, 2, shape);
  AvatarTensorSource bias = avatar_tensor_source_in_bytes (bytes, 0, AVATAR_F32, 1, shape);
  g_autoptr (GHashTable) tensors = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (AvatarDevice) device = avatar_device_open (device_name, NULL);

  g_hash_table_insert (tensors, "block.7.right.weight", &matrix);
  g_hash_table_insert (tensors, "block.7.right.bias", &bias);
  for (guint i = 0; i < 4; i++) {
    AvatarWeightsMode mode = i / 2 ? AVATAR_WEIGHTS_LOAD : AVATAR_WEIGHTS_SHAPES_ONLY;
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarWeightList) list = avatar_weight_list_new (0);
    g_autoptr (AvatarWeights) weights = NULL;
    Block block = { 0 };

    avatar_weight_list_add (list, tables[i % 2], &block, groups, "block.%u.", 7);
    weights = avatar_weights_new_from_table (tensors, device, AVATAR_COMPONENT_TRANSFORMER, list,
        NULL, mode, &error);
    if (i % 2 == 0) {
      g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
      g_assert_null (weights);
      g_assert_cmpstr (error->message, ==,
          "weights: the transformer needs tensor \"block.7.wrong.weight\", which is missing; "
          "download or convert the file again");
      g_assert_null (block.right.weight.weights);
      continue;
    }
    g_assert_no_error (error);
    g_assert_cmpint (avatar_weight_tensor (block.right.weight).shape[1], ==, 4);
    g_assert_cmpint (avatar_weight_tensor (block.right.bias).rank, ==, 1);
    g_assert_true (
        !avatar_weight_tensor (block.right.weight).data == (mode == AVATAR_WEIGHTS_SHAPES_ONLY));
    g_assert_false (avatar_tensor_is_set (avatar_weight_tensor (block.wrong.weight)));
  }
}

/* Tensors that are no weights are not taken for some. */
static void
test_wrong_dtype (void)
{
  static const gint64 values[4], n = 4;
  g_autoptr (GBytes) bytes = g_bytes_new_static (values, sizeof values);
  AvatarTensorSource t = avatar_tensor_source_in_bytes (bytes, 0, AVATAR_I64, 1, &n);
  g_autoptr (GHashTable) tensors = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autoptr (AvatarWeightList) list = avatar_weight_list_new (0);
  g_autoptr (GError) error = NULL;
  AvatarWeight handle = { 0 };

  g_hash_table_insert (tensors, "position_ids", &t);
  avatar_weight_list_add_tensor (list, &handle, "position_ids", AVATAR_WEIGHT_GROUP_FIXED,
      AVATAR_WEIGHT_CLASS_F32);
  g_assert_null (avatar_weights_new_from_table (tensors, device, AVATAR_COMPONENT_CLIP, list, NULL,
      AVATAR_WEIGHTS_LOAD, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (error->message, "position_ids"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/weight-list/released", test_released);
  g_test_add_func ("/weight-list/demo", test_demo);
  g_test_add_data_func ("/weight-list/wrong-name/cpu", "cpu", test_wrong_name);
  g_test_add_data_func ("/weight-list/wrong-name/fake", "sim:512", test_wrong_name);
  g_test_add_func ("/weight-list/wrong-dtype", test_wrong_dtype);
  return g_test_run ();
}
