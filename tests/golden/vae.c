/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The video VAE against upstream's own modules on random weights: encoder and decoder, with and
 * without the causal mask, whole and in tiles. */
#include "tests/golden/golden.h"

#include "engine/vae/tiles.h"

#include <string.h>

#define LIMIT 1e-4

static const AvatarVaeConfig small = { .in_channels = 3,
  .out_channels = 3,
  .latent_channels = 4,
  .n_stages = 4,
  .channels = { 8, 8, 16, 16 },
  .layers_per_block = 1,
  .groups = 4,
  .spatial_ratio = 8,
  .temporal_ratio = 4,
  .mid_attention = TRUE,
  .mid_causal = TRUE,
  .sample_size = 256,
  .sample_tsize = 64,
  .scaling_factor = 0.476986 };

typedef struct
{
  const char *path;
  const char *in, *out;
  guint channels[4], layers;
  gboolean full_attention, tiles;
} Case;

#define VAE { 8, 8, 16, 16 }, 1
#define LAYERS2 { 4, 8, 8, 12 }, 2
#define TILES { 4, 4, 8, 8 }, 1
#define F "upstream/vae.safetensors"
#define F2 "upstream/vae_layers2_full_attention.safetensors"
#define FT "upstream/vae_tiles.safetensors"

static const Case cases[] = {
  { F, "encode_1", "encode_1", VAE, FALSE, FALSE },
  { F, "encode_9", "encode_9", VAE, FALSE, FALSE },
  { F, "encode_9", "encode_9_full_attention", VAE, TRUE, FALSE },
  { F, "decode_1", "decode_1", VAE, FALSE, FALSE },
  { F, "decode_3", "decode_3", VAE, FALSE, FALSE },
  { F, "decode_3", "decode_3_full_attention", VAE, TRUE, FALSE },
  { F, "decode_5", "decode_5", VAE, FALSE, FALSE },
  { F2, "encode_1", "encode_1", LAYERS2, TRUE, FALSE },
  { F2, "encode_9", "encode_9", LAYERS2, TRUE, FALSE },
  { F2, "decode_1", "decode_1", LAYERS2, TRUE, FALSE },
  { F2, "decode_3", "decode_3", LAYERS2, TRUE, FALSE },
  { F2, "decode_5", "decode_5", LAYERS2, TRUE, FALSE },
  { FT, "decode_space", "decode_space", TILES, FALSE, TRUE },
  { FT, "decode_time", "decode_time", TILES, FALSE, TRUE },
  { FT, "decode_all_axes", "decode_all_axes", TILES, FALSE, TRUE },
  { FT, "encode_space", "encode_space", TILES, FALSE, TRUE },
  { FT, "encode_time", "encode_time", TILES, FALSE, TRUE },
  { FT, "encode_all_axes", "encode_all_axes", TILES, FALSE, TRUE },
};

static AvatarTensor
lookup (gpointer file, const char *name, GError **error)
{
  g_autofree char *key = g_strconcat ("weights.", name, NULL);
  AvatarTensorSource stored;

  if (!avatar_safetensors_get (file, key, &stored))
    return AVATAR_NO_TENSOR;
  return avatar_tensor_of_shape (AVATAR_F32, avatar_tensor_source_read_all (&stored, error),
      stored.rank, stored.shape);
}

static AvatarVaeNetwork *
make_network (AvatarVaeSource *source, AvatarOps *ops, AvatarVaeKind kind)
{
  source->ops = ops;
  return avatar_vae_network_new (source, kind);
}

/* The golden tensor @kind.@name [1, C, T, H, W] as [T, H, W, C]; free the data. */
static AvatarTensor
channels_last (AvatarSafetensors *file, const char *kind, const char *name)
{
  g_autofree char *key = g_strdup_printf ("%s.%s", kind, name);
  g_autofree float *values = NULL;
  AvatarTensorSource t;
  AvatarTensor out;
  gint64 c, s;

  g_assert_true (avatar_safetensors_get (file, key, &t));
  g_assert_cmpint (t.rank, ==, 5);
  values = avatar_tensor_source_read_all (&t, NULL);
  g_assert_nonnull (values);
  c = t.shape[1];
  s = t.shape[2] * t.shape[3] * t.shape[4];
  out = avatar_tensor (AVATAR_F32, g_new (float, c *s), 4, t.shape[2], t.shape[3], t.shape[4], c);
  for (gint64 i = 0; i < s; i++)
    for (gint64 j = 0; j < c; j++)
      avatar_tensor_f32 (out)[i * c + j] = values[j * s + i];
  return out;
}

static void
check_case (gconstpointer data)
{
  const Case *c = data;
  AvatarVaeKind kind = g_str_has_prefix (c->in, "decode") ? AVATAR_VAE_DECODER : AVATAR_VAE_ENCODER;
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarSafetensors) file = golden_open (c->path);
  AvatarDevice *device = avatar_device_open ("cpu", &error);
  AvatarTensor x = channels_last (file, "in", c->in), expected;
  AvatarVaeConfig config = small;
  AvatarTensor y;

  config.layers_per_block = c->layers;
  config.mid_causal = !c->full_attention;
  memcpy (config.channels, c->channels, sizeof c->channels);
  if (c->tiles) {
    config.sample_size = 32;
    config.sample_tsize = 16;
  }
  expected = channels_last (file, "out", c->out);
  y = avatar_tensor_of_shape (AVATAR_F32, g_new (float, avatar_tensor_n (expected)), 4,
      expected.shape);
  {
    AvatarVaeSource source = { .config = &config, .lookup = lookup, .data = file };
    g_autoptr (AvatarOps) dry_run = avatar_ops_new (device, avatar_arena_new_dry_run (), NULL);
    g_autoptr (AvatarOps) dry_weights = avatar_ops_new (device, avatar_arena_new_dry_run (), NULL);
    g_autoptr (AvatarVaeNetwork) dry_network = make_network (&source, dry_weights, kind);
    g_autoptr (AvatarOps) packed = avatar_ops_new (device,
        avatar_arena_new (device, avatar_arena_peak (dry_weights->arena), "weights", &error),
        &error);
    g_autoptr (AvatarVaeNetwork) network = make_network (&source, packed, kind);
    g_autoptr (AvatarOps) ops = NULL;
    AvatarVaeTiles tiles;
    double difference;

    g_assert_no_error (source.error);
    g_assert_cmpuint (avatar_arena_peak (packed->arena), ==,
        avatar_arena_peak (dry_weights->arena));
    avatar_vae_tiles_init (&tiles, &config, kind,
        &(AvatarVaeTileSettings){ .tiling = TRUE,
            .tile_size = config.sample_size,
            .tile_frames = config.sample_tsize,
            .overlap = AVATAR_VAE_OVERLAP });
    tiles.network = network;
    avatar_vae_tiles_run (&tiles, dry_run, y, x);
    ops = avatar_ops_new (device,
        avatar_arena_new (device, avatar_arena_peak (dry_run->arena), "the test", &error), &error);
    g_assert_no_error (error);
    avatar_vae_tiles_run (&tiles, ops, y, x);
    g_assert_true (avatar_ops_check (ops, &error));
    /* the plan is the real run, to the byte */
    g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, avatar_arena_peak (dry_run->arena));
    g_assert_cmpfloat (ops->flops, ==, dry_run->flops);
    g_assert_cmpfloat (ops->bytes, ==, dry_run->bytes);
    difference = golden_error (y.data, expected.data, avatar_tensor_n (y));
    g_test_message ("%s: relative L2 error %.3g (limit %g)", c->out, difference, LIMIT);
    g_assert_cmpfloat (difference, <=, LIMIT);
  }
  g_free (x.data);
  g_free (y.data);
  g_free (expected.data);
  avatar_device_unref (device);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *file = g_path_get_basename (cases[i].path);
    g_autofree char *name = g_strdup_printf ("/vae/%s/%s", file, cases[i].out);

    g_test_add_data_func (name, &cases[i], check_case);
  }
  return g_test_run ();
}
