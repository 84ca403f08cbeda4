/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Five dialects (spec vae-text-face-formats.md 5.6): the checkpoint's own names; those with
 * underscores of musubi-tuner and kohya; ComfyUI's; diffusers', which splits what the checkpoint
 * has fused; all with various prefixes and suffixes. */
#include "engine/weights/lora-names.h"

#include "engine/weights/manifest.h"

#include <string.h>

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
  /* dialects that differ in their dots alone meet here */
  for (guint i = 0; i < targets->len; i++) {
    const AvatarLoraTarget *known = &g_array_index (targets, AvatarLoraTarget, i);

    if (strcmp (known->module, target->module) == 0 && known->row == target->row)
      return;
  }
  copy.module = g_strdup (target->module);
  g_array_append_val (targets, copy);
}

/* @name and its form with underscores, which for some modules are the same. */
static void
add (GHashTable *names, const char *name, const AvatarLoraTarget *target)
{
  g_autofree char *underscored = g_strconcat ("lora_unet_", name, NULL);

  insert (names, name, target);
  insert (names, g_strdelimit (underscored, ".", '_'), target);
}

/* A name of all rows of the matrix @from of a block, of which @rows from @row are @to. */
typedef struct
{
  const char *to, *from;
  guint row, rows; /* in widths; 0 rows: all of them */
} Alias;

static const Alias double_aliases[] = {
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
static const Alias single_aliases[] = { { "modulation.lin", "modulation.linear", 0, 0 } };
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
  { "proj_mlp", "linear1", 3, G_MAXUINT }, /* the rest */
  { "proj_out", "linear2", 0, 0 },
  { "norm.linear", "modulation.linear", 0, 0 },
};

/* Blocks "@to.I" of another dialect are "@from.I" of the checkpoint. */
static void
add_blocks (GHashTable *names, const char *to, const char *from, guint n_blocks,
    const Alias *aliases, guint n, gint64 width)
{
  for (guint i = 0; i < n_blocks * n; i++) {
    const Alias *alias = &aliases[i % n];
    g_autofree char *own = g_strdup_printf ("%s.%u.%s", from, i / n, alias->from);
    g_autofree char *name = g_strdup_printf ("%s.%u.%s", to, i / n, alias->to);
    AvatarLoraTarget target
        = g_array_index ((GArray *) g_hash_table_lookup (names, own), AvatarLoraTarget, 0);
    gint64 all = target.n_rows;

    target.row = alias->row * width;
    if (alias->rows)
      target.n_rows = alias->rows == G_MAXUINT ? all - target.row : alias->rows * width;
    add (names, name, &target);
  }
}

/* diffusers has scale before shift there. */
static void
add_swapped (GHashTable *names, gint64 width)
{
  AvatarLoraTarget half
      = { .module = "final_layer.adaLN_modulation.1", .n_rows = width, .cols = width };

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

GHashTable *
avatar_lora_names_new (const AvatarConfig *config)
{
  const AvatarTransformerConfig *c = &config->transformer;
  g_autoptr (GArray) manifest = avatar_manifest_new (config, "transformer");
  GHashTable *names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, targets_free);

  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);

    if (e->rank == 2 && g_str_has_suffix (e->name, ".weight")) {
      g_autofree char *module = g_strndup (e->name, strlen (e->name) - strlen (".weight"));
      AvatarLoraTarget target = { .module = module, .n_rows = e->shape[0], .cols = e->shape[1] };

      add (names, module, &target);
    }
  }
  add_blocks (names, "double_blocks", "double_blocks", c->n_double, double_aliases,
      G_N_ELEMENTS (double_aliases), c->hidden);
  add_blocks (names, "single_blocks", "single_blocks", c->n_single, single_aliases,
      G_N_ELEMENTS (single_aliases), c->hidden);
  add_blocks (names, "transformer_blocks", "double_blocks", c->n_double, diffusers_double,
      G_N_ELEMENTS (diffusers_double), c->hidden);
  add_blocks (names, "single_transformer_blocks", "single_blocks", c->n_single, diffusers_single,
      G_N_ELEMENTS (diffusers_single), c->hidden);
  add_swapped (names, c->hidden);
  return names;
}

AvatarLoraRole
avatar_lora_parse_key (const char *key, char **name)
{
  static const struct
  {
    const char *suffix;
    AvatarLoraRole role;
  } known[] = {
    { ".lora_A.weight", AVATAR_LORA_DOWN },
    { ".lora_A.default.weight", AVATAR_LORA_DOWN },
    { ".lora_down.weight", AVATAR_LORA_DOWN },
    { ".lora.down.weight", AVATAR_LORA_DOWN },
    { ".lora.A.weight", AVATAR_LORA_DOWN },
    { ".lora_A", AVATAR_LORA_DOWN },
    { ".lora_B.weight", AVATAR_LORA_UP },
    { ".lora_B.default.weight", AVATAR_LORA_UP },
    { ".lora_up.weight", AVATAR_LORA_UP },
    { ".lora.up.weight", AVATAR_LORA_UP },
    { ".lora.B.weight", AVATAR_LORA_UP },
    { ".lora_B", AVATAR_LORA_UP },
    { ".alpha", AVATAR_LORA_ALPHA },
    { ".diff", AVATAR_LORA_DIFF },
    { ".diff_b", AVATAR_LORA_DIFF_B },
  };
  static const char *const refused[]
      = { ".dora_scale", ".lora_magnitude_vector", ".lokr_", ".hada_", ".oft_", ".glora_" };
  static const char *const prefixes[]
      = { "base_model.model.", "diffusion_model.", "transformer.", "model." };
  const char *start = key;

  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
    if (g_str_has_prefix (start, prefixes[i]))
      start += strlen (prefixes[i]);
  *name = NULL;
  for (guint i = 0; i < G_N_ELEMENTS (refused); i++)
    if (strstr (start, refused[i]))
      return AVATAR_LORA_REFUSED;
  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if (g_str_has_suffix (start, known[i].suffix)) {
      *name = g_strndup (start, strlen (start) - strlen (known[i].suffix));
      return known[i].role;
    }
  return AVATAR_LORA_OTHER;
}
