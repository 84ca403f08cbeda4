/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dialects (docs/dev/spec/vae-text-face-formats.md 5.6) are the names of the checkpoint, of
 * ComfyUI, of diffusers, which splits fused matrices, and of OneTrainer, which numbers the parts
 * of fused matrices. Each may be written with dots or underscores and with various prefixes and
 * suffixes. docs/guide/weights.md lists them. */
#include "engine/model/lora-keys.h"

#include "engine/model/manifest.h"

#include <string.h>

/* Maximum number of prefixes and maximum length of a key. */
#define MAX_PREFIXES 8
#define MAX_KEY 512

static void
target_clear (gpointer data)
{
  g_free (((AvatarLoraTarget *) data)->module);
}

static void
insert (GHashTable *names, const char *name, const AvatarLoraTarget *target)
{
  GArray *targets = g_hash_table_lookup (names, name);
  AvatarLoraTarget copy = *target;

  if (!targets) {
    targets = g_array_new (FALSE, FALSE, sizeof (AvatarLoraTarget));
    g_array_set_clear_func (targets, target_clear);
    g_hash_table_insert (names, g_strdup (name), targets);
  }
  /* Dialects that differ only in dots have the same key. */
  for (guint i = 0; i < targets->len; i++) {
    const AvatarLoraTarget *known = &g_array_index (targets, AvatarLoraTarget, i);

    if (strcmp (known->module, target->module) == 0 && known->row == target->row)
      return;
  }
  copy.module = g_strdup (target->module);
  g_array_append_val (targets, copy);
}

/* Adds @name, and its form with underscores if it is different. */
static void
add (GHashTable *names, const char *name, const AvatarLoraTarget *target)
{
  g_autofree char *underscored = g_strdelimit (g_strdup (name), ".", '_');

  insert (names, name, target);
  insert (names, underscored, target);
}

/* Alias @from of rows @row .. @row + @rows of the matrix @to of a block. */
typedef struct
{
  const char *to, *from;
  guint row, rows; /* in multiples of the width; 0 rows: all */
} Alias;

static const Alias double_aliases[] = {
  { "img_attn_qkv.0", "img_attn_qkv", 0, 1 },
  { "img_attn_qkv.1", "img_attn_qkv", 1, 1 },
  { "img_attn_qkv.2", "img_attn_qkv", 2, 1 },
  { "img_mlp.fc0", "img_mlp.fc1", 0, 0 },
  { "txt_attn_qkv.0", "txt_attn_qkv", 0, 1 },
  { "txt_attn_qkv.1", "txt_attn_qkv", 1, 1 },
  { "txt_attn_qkv.2", "txt_attn_qkv", 2, 1 },
  { "txt_mlp.fc0", "txt_mlp.fc1", 0, 0 },
  { "img_attn.qkv", "img_attn_qkv", 0, 0 },
  { "img_attn.proj", "img_attn_proj", 0, 0 },
  { "img_mlp.0", "img_mlp.fc1", 0, 0 },
  { "img_mlp.2", "img_mlp.fc2", 0, 0 },
  { "img_mod.lin", "img_mod.linear", 0, 0 },
  { "txt_attn.qkv", "txt_attn_qkv", 0, 0 },
  { "txt_attn.proj", "txt_attn_proj", 0, 0 },
  { "txt_mlp.0", "txt_mlp.fc1", 0, 0 },
  { "txt_mlp.2", "txt_mlp.fc2", 0, 0 },
  { "txt_mod.lin", "txt_mod.linear", 0, 0 },
};
static const Alias single_aliases[] = {
  { "modulation.lin", "modulation.linear", 0, 0 }, { "linear1.0", "linear1", 0, 1 },
  { "linear1.1", "linear1", 1, 1 }, { "linear1.2", "linear1", 2, 1 },
  { "linear1.3", "linear1", 3, G_MAXUINT }, /* the remaining rows */
};
/* Names in blocks of the token refiner. */
static const Alias refiner_aliases[] = {
  { "self_attn.qkv", "self_attn_qkv", 0, 0 },
  { "self_attn.proj", "self_attn_proj", 0, 0 },
  { "self_attn_qkv.0", "self_attn_qkv", 0, 1 },
  { "self_attn_qkv.1", "self_attn_qkv", 1, 1 },
  { "self_attn_qkv.2", "self_attn_qkv", 2, 1 },
  { "mlp.0", "mlp.fc1", 0, 0 },
  { "mlp.2", "mlp.fc2", 0, 0 },
  { "mlp.fc0", "mlp.fc1", 0, 0 },
};
static const Alias diffusers_double[] = {
  { "attn.to_q", "img_attn_qkv", 0, 1 },
  { "attn.to_k", "img_attn_qkv", 1, 1 },
  { "attn.to_v", "img_attn_qkv", 2, 1 },
  { "attn.to_out.0", "img_attn_proj", 0, 0 },
  { "attn.add_q_proj", "txt_attn_qkv", 0, 1 },
  { "attn.add_k_proj", "txt_attn_qkv", 1, 1 },
  { "attn.add_v_proj", "txt_attn_qkv", 2, 1 },
  { "attn.to_add_out", "txt_attn_proj", 0, 0 },
  { "ff.net.0.proj", "img_mlp.fc1", 0, 0 },
  { "ff.net.2", "img_mlp.fc2", 0, 0 },
  { "ff_context.net.0.proj", "txt_mlp.fc1", 0, 0 },
  { "ff_context.net.2", "txt_mlp.fc2", 0, 0 },
  { "norm1.linear", "img_mod.linear", 0, 0 },
  { "norm1_context.linear", "txt_mod.linear", 0, 0 },
};
static const Alias diffusers_single[] = {
  { "attn.to_q", "linear1", 0, 1 },
  { "attn.to_k", "linear1", 1, 1 },
  { "attn.to_v", "linear1", 2, 1 },
  { "proj_mlp", "linear1", 3, G_MAXUINT }, /* the remaining rows */
  { "proj_out", "linear2", 0, 0 },
  { "norm.linear", "modulation.linear", 0, 0 },
};

static const Alias diffusers_refiner[] = {
  { "attn.to_q", "self_attn_qkv", 0, 1 },
  { "attn.to_k", "self_attn_qkv", 1, 1 },
  { "attn.to_v", "self_attn_qkv", 2, 1 },
  { "attn.to_out.0", "self_attn_proj", 0, 0 },
  { "ff.net.0.proj", "mlp.fc1", 0, 0 },
  { "ff.net.2", "mlp.fc2", 0, 0 },
  { "norm_out.linear", "adaLN_modulation.1", 0, 0 },
};
/* Modules that exist once: names of diffusers, ComfyUI and OneTrainer. */
static const Alias others[] = {
  { "x_embedder.proj", "img_in.proj", 0, 0 },
  { "time_text_embed.timestep_embedder.linear_1", "time_in.mlp.0", 0, 0 },
  { "time_text_embed.timestep_embedder.linear_2", "time_in.mlp.2", 0, 0 },
  { "time_text_embed.text_embedder.linear_1", "vector_in.in_layer", 0, 0 },
  { "time_text_embed.text_embedder.linear_2", "vector_in.out_layer", 0, 0 },
  { "context_embedder.time_text_embed.timestep_embedder.linear_1", "txt_in.t_embedder.mlp.0", 0,
      0 },
  { "context_embedder.time_text_embed.timestep_embedder.linear_2", "txt_in.t_embedder.mlp.2", 0,
      0 },
  { "context_embedder.time_text_embed.text_embedder.linear_1", "txt_in.c_embedder.linear_1", 0, 0 },
  { "context_embedder.time_text_embed.text_embedder.linear_2", "txt_in.c_embedder.linear_2", 0, 0 },
  { "context_embedder.proj_in", "txt_in.input_embedder", 0, 0 },
  { "proj_out", "final_layer.linear", 0, 0 },
  { "time_in.in_layer", "time_in.mlp.0", 0, 0 },
  { "time_in.out_layer", "time_in.mlp.2", 0, 0 },
  { "txt_in.t_embedder.in_layer", "txt_in.t_embedder.mlp.0", 0, 0 },
  { "txt_in.t_embedder.out_layer", "txt_in.t_embedder.mlp.2", 0, 0 },
  { "txt_in.t_embedder.linear_1", "txt_in.t_embedder.mlp.0", 0, 0 },
  { "txt_in.t_embedder.linear_2", "txt_in.t_embedder.mlp.2", 0, 0 },
  { "txt_in.c_embedder.in_layer", "txt_in.c_embedder.linear_1", 0, 0 },
  { "txt_in.c_embedder.out_layer", "txt_in.c_embedder.linear_2", 0, 0 },
};

/* Adds the alias @to of another dialect for @from of the checkpoint, or for the rows of @alias. */
static void
add_alias (GHashTable *names, const char *to, const char *from, const Alias *alias, gint64 width)
{
  GArray *own = g_hash_table_lookup (names, from);
  AvatarLoraTarget target = g_array_index (own, AvatarLoraTarget, 0);
  gint64 all = target.n_rows;

  target.row = alias->row * width;
  if (alias->rows)
    target.n_rows = alias->rows == G_MAXUINT ? all - target.row : alias->rows * width;
  add (names, to, &target);
}

/* Adds aliases for the numbered blocks: "@to.I" is "@from.I" of the checkpoint. */
static void
add_blocks (GHashTable *names, const char *to, const char *from, guint n_blocks,
    const Alias *aliases, guint n, gint64 width)
{
  for (guint i = 0; i < n_blocks * n; i++) {
    const Alias *alias = &aliases[i % n];
    g_autofree char *own = g_strdup_printf ("%s.%u.%s", from, i / n, alias->from);
    g_autofree char *name = g_strdup_printf ("%s.%u.%s", to, i / n, alias->to);

    add_alias (names, name, own, alias, width);
  }
}

/* diffusers stores scale before shift. */
static void
add_swapped (GHashTable *names, gint64 width)
{
  GArray *own = g_hash_table_lookup (names, "final_layer.adaLN_modulation.1");
  AvatarLoraTarget half = g_array_index (own, AvatarLoraTarget, 0);

  half.n_rows = width;
  half.source_row = width;
  add (names, "norm_out.linear", &half);
  half.source_row = 0;
  half.row = width;
  add (names, "norm_out.linear", &half);
}

static void
targets_free (gpointer data)
{
  g_array_unref (data);
}

/* Adds the modules of the checkpoint. */
static void
add_modules (GHashTable *names, GArray *manifest)
{
  g_autoptr (GHashTable) tensors = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; i < manifest->len; i++)
    g_hash_table_add (tensors, g_array_index (manifest, AvatarManifestEntry, i).name);
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    g_autofree char *module = NULL, *bias = NULL;
    AvatarLoraTarget target = { .n_rows = e->shape[0], .cols = 1, .is_matrix = e->rank > 1 };

    if (!g_str_has_suffix (e->name, ".weight"))
      continue;
    module = g_strndup (e->name, strlen (e->name) - strlen (".weight"));
    bias = g_strconcat (module, ".bias", NULL);
    for (guint k = 1; k < e->rank; k++)
      target.cols *= e->shape[k];
    target.module = module;
    target.has_bias = g_hash_table_contains (tensors, bias);
    add (names, module, &target);
  }
}

GHashTable *
avatar_lora_names_new (const AvatarConfig *config)
{
  static const char refiner[] = "txt_in.individual_token_refiner.blocks";
  const AvatarTransformerConfig *c = &config->transformer;
  g_autoptr (GArray) manifest = avatar_manifest_new (config, AVATAR_COMPONENT_TRANSFORMER);
  GHashTable *names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, targets_free);
  const struct
  {
    const char *to, *from;
    guint n_blocks, n;
    const Alias *aliases;
  } blocks[] = {
    { "double_blocks", "double_blocks", c->n_double, G_N_ELEMENTS (double_aliases),
        double_aliases },
    { "single_blocks", "single_blocks", c->n_single, G_N_ELEMENTS (single_aliases),
        single_aliases },
    { refiner, refiner, c->refiner_depth, G_N_ELEMENTS (refiner_aliases), refiner_aliases },
    { "transformer_blocks", "double_blocks", c->n_double, G_N_ELEMENTS (diffusers_double),
        diffusers_double },
    { "single_transformer_blocks", "single_blocks", c->n_single, G_N_ELEMENTS (diffusers_single),
        diffusers_single },
    { "context_embedder.token_refiner.refiner_blocks", refiner, c->refiner_depth,
        G_N_ELEMENTS (diffusers_refiner), diffusers_refiner },
  };

  add_modules (names, manifest);
  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    add_blocks (names, blocks[i].to, blocks[i].from, blocks[i].n_blocks, blocks[i].aliases,
        blocks[i].n, c->hidden);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++)
    add_alias (names, others[i].to, others[i].from, &others[i], c->hidden);
  add_swapped (names, c->hidden);
  return names;
}

/* ----------------------------------------------------------------------------------------- keys */

/* Returns the role of @rest, the text after the word for one of the two matrices: empty, ".weight"
 * or ".NAME.weight" (PEFT's adapter name) for the matrix itself; other texts belong to other kinds
 * of adapters. */
static gboolean
ends_matrix (const char *rest)
{
  const char *dot = *rest == '.' ? strchr (rest + 1, '.') : NULL;

  return !*rest || strcmp (rest, ".weight") == 0
      || (dot && dot > rest + 1 && strcmp (dot, ".weight") == 0);
}

static gboolean
is_of_refused_kind (const char *key)
{
  static const char *const kinds[] = { ".dora_scale", ".lora_magnitude_vector", ".lokr_", ".hada_",
    ".oft_", ".boft_", ".glora_", ".lora_mid", ".vera_", ".ia3_", ".lora_E", ".lora_embedding_",
    ".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight", ".w_norm", ".b_norm", ".set_weight",
    ".reshape_weight", ".bias_values", ".on_input" };

  /* These are common to all matrices. */
  static const char *const alone[]
      = { "alpha", "lora_alpha", "network_alpha", "lora_scale", "scaling", "use_rslora_flag" };

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (strstr (key, kinds[i]))
      return TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (alone); i++)
    if (strcmp (key, alone[i]) == 0)
      return TRUE;
  return g_str_has_suffix (key, ".scalar");
}

/* Returns the first @n bytes of @key without the prefixes that torch.compile() inserts. */
static char *
module_name (const char *key, gsize n)
{
  g_autoptr (GString) name = g_string_new_len (key, n);

  g_string_replace (name, "._orig_mod.", ".", 0);
  return g_string_free (g_steal_pointer (&name), FALSE);
}

AvatarLoraRole
avatar_lora_parse_key (const char *key, char **name)
{
  static const struct
  {
    const char *word;
    AvatarLoraRole role;
  } matrices[] = { { ".lora_A", AVATAR_LORA_DOWN }, { ".lora_down", AVATAR_LORA_DOWN },
    { ".lora.down", AVATAR_LORA_DOWN }, { ".lora.A", AVATAR_LORA_DOWN },
    { ".lora_linear_layer.down", AVATAR_LORA_DOWN }, { ".lora_B", AVATAR_LORA_UP },
    { ".lora_up", AVATAR_LORA_UP }, { ".lora.up", AVATAR_LORA_UP }, { ".lora.B", AVATAR_LORA_UP },
    { ".lora_linear_layer.up", AVATAR_LORA_UP } },
    numbers[] = { { ".alpha", AVATAR_LORA_ALPHA }, { ".diff", AVATAR_LORA_DIFF },
      { ".diff_b", AVATAR_LORA_DIFF_B } };

  *name = NULL;
  if (is_of_refused_kind (key))
    return AVATAR_LORA_REFUSED;
  for (guint i = 0; i < G_N_ELEMENTS (matrices); i++) {
    const char *at = g_strrstr (key, matrices[i].word);

    if (at && ends_matrix (at + strlen (matrices[i].word))) {
      *name = module_name (key, at - key);
      return matrices[i].role;
    }
  }
  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++)
    if (g_str_has_suffix (key, numbers[i].word)) {
      *name = module_name (key, strlen (key) - strlen (numbers[i].word));
      return numbers[i].role;
    }
  return AVATAR_LORA_OTHER;
}

/* Returns @name without its first prefix, or %NULL if it has none. */
static const char *
skip_prefix (const char *name)
{
  static const char *const prefixes[] = { "base_model.", "model.", "diffusion_model.",
    "transformer.", "unet.", "dit.", "pipe.", "module.", "_orig_mod.", "lora_unet_",
    "lora_transformer_", "lycoris_", "lora_", "base_model_", "model_", "diffusion_model_",
    "transformer_", "unet_", "dit_", "module_", "_orig_mod_" };

  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
    if (g_str_has_prefix (name, prefixes[i]))
      return name + strlen (prefixes[i]);
  return NULL;
}

GArray *
avatar_lora_names_find (GHashTable *names, const char *name, const char **bare)
{
  for (guint i = 0; name && i <= MAX_PREFIXES; i++, name = skip_prefix (name)) {
    GArray *targets = g_hash_table_lookup (names, name);

    if (targets && bare)
      *bare = name;
    if (targets)
      return targets;
  }
  return NULL;
}

gboolean
avatar_lora_names_touch (GHashTable *names, const char *key)
{
  g_autofree char *module = module_name (key, MIN (strlen (key), MAX_KEY));
  char *dot;

  for (; module[0]; *dot = '\0') {
    if (avatar_lora_names_find (names, module, NULL))
      return TRUE;
    dot = strrchr (module, '.');
    if (!dot)
      return FALSE;
  }
  return FALSE;
}
