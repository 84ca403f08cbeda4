/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A LoRA is matched with the model. For other files only the component is named, because the sizes
 * that they should have are not known. */
#include "engine/inspect/inspect-loose.h"

#include "engine/inspect/inspect-file.h"
#include "engine/model/lora-keys.h"
#include "engine/model/lora.h"

#include <string.h>

/* Maximum number of directory entries that are examined. */
#define MAX_ENTRIES 4096
#define MAX_FILES 32

/* Returns TRUE if most tensors have names as in a LoRA. */
static gboolean
is_lora (AvatarTensorFile *file)
{
  guint n = 0;

  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    g_autofree char *module = NULL;

    n += avatar_lora_parse_key (avatar_tensor_file_nth (file, i, NULL), &module)
        != AVATAR_LORA_OTHER;
  }
  return n > 0 && n >= avatar_tensor_file_n (file) / 2;
}

static char *
describe_lora (AvatarLora *lora)
{
  const char *source = avatar_lora_get_alpha_source (lora);
  GPtrArray *warnings = avatar_lora_get_warnings (lora);
  GString *note = g_string_new (NULL);

  g_string_printf (note, "adds to %u weights of the transformer; %u keys are skipped",
      avatar_lora_n_tensors (lora), avatar_lora_n_unknown (lora));
  if (source)
    g_string_append_printf (note, "; its alpha is from %s", source);
  for (guint i = 0; i < warnings->len; i++)
    g_string_append_printf (note, "; warning: %s", (char *) warnings->pdata[i]);
  return g_string_free (note, FALSE);
}

static void
try_lora (AvatarInspectedComponent *component, const AvatarConfig *config)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarLora) lora = avatar_lora_open (component->path, config, 1, &error);

  if (lora)
    component->note = describe_lora (lora);
  else
    avatar_inspected_component_fail (component, AVATAR_INSPECT_UNUSABLE, "%s", error->message);
}

/* Returns the name of the component, from the prefix of a tensor name, or NULL. */
static const char *
find_component (AvatarTensorFile *file)
{
  static const char *const known[][2] = {
    { "double_blocks.", "transformer" },
    { "language_model.", "text encoder (LLaVA)" },
    { "vision_tower.", "text encoder (LLaVA)" },
    { "multi_modal_projector.", "text encoder (LLaVA)" },
    { "layers.0.mlp.gate_proj.", "text encoder (LLaVA)" },
    { "text_model.", "text encoder (CLIP)" },
    { "decoder.up_blocks.", "VAE" },
    { "vae.decoder.", "VAE" },
    { "encoder.layers.0.self_attn.", "speech encoder" },
    { "layers.0.self_attn.", "speech encoder" },
    { "byte_embed", "text stub" },
    { "0.stem_1.conv.", "face detector" },
  };

  for (guint k = 0; k < G_N_ELEMENTS (known); k++)
    for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
      const char *name = avatar_tensor_file_nth (file, i, NULL);

      if (g_str_has_prefix (name, "model."))
        name += strlen ("model.");
      if (g_str_has_prefix (name, known[k][0]))
        return known[k][1];
    }
  return NULL;
}

static void
set_name (AvatarInspectedComponent *component, AvatarTensorFile *file)
{
  const char *network = find_component (file);

  for (guint i = 0; !network && i < avatar_tensor_file_n (file); i++)
    avatar_inspected_component_add_extra (component, avatar_tensor_file_nth (file, i, NULL));
  if (network)
    component->note = g_strdup ("its sizes were not checked against a model");
  else
    avatar_inspected_component_fail (component, AVATAR_INSPECT_UNUSABLE,
        "%s: its tensor names match no known network; expected a component of a model, "
        "or a LoRA",
        component->path);
  g_free (component->name);
  component->name = g_strdup (network ? network : "unknown weights");
}

AvatarInspectedComponent *
avatar_inspect_loose (const char *path, const AvatarConfig *config)
{
  AvatarInspectedComponent *component = avatar_inspected_component_new ("file", path);
  AvatarTensorFile *file = avatar_inspected_component_open_file (component);

  if (file && is_lora (file)) {
    g_free (component->name);
    component->name = g_strdup ("LoRA");
    try_lora (component, config);
  } else if (file) {
    set_name (component, file);
  }
  g_clear_pointer (&file, avatar_tensor_file_free);
  return component;
}

/* Shards are reported through their index. */
static gboolean
looks_like_weights (const char *name)
{
  static const char *const endings[]
      = { ".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin", ".ckpt", ".gguf" };

  if (g_pattern_match_simple ("*-0*-of-0*", name))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (endings); i++)
    if (g_str_has_suffix (name, endings[i]))
      return TRUE;
  return FALSE;
}

static int
compare (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

void
avatar_inspect_folder (AvatarInspection *self, const char *folder, const AvatarConfig *config,
    GHashTable *seen)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);
  const char *name;

  for (guint n = 0; dir && n < MAX_ENTRIES && (name = g_dir_read_name (dir)); n++)
    if (looks_like_weights (name))
      g_ptr_array_add (paths, g_build_filename (folder, name, NULL));
  g_ptr_array_sort (paths, compare);
  for (guint i = 0, n = 0; i < paths->len; i++) {
    char *full = g_canonicalize_filename (paths->pdata[i], NULL);

    if (!g_hash_table_add (seen, full))
      continue;
    if (n++ < MAX_FILES)
      g_ptr_array_add (self->components, avatar_inspect_loose (paths->pdata[i], config));
    else
      self->n_passed_over++;
  }
}
