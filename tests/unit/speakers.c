/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several speakers: masks, voices and their order, memory, changes and errors. */
#include "change-fixture.h"

#include "engine/denoise/speakers.h"

#include <math.h>

static const AvatarFaceBox LEFT = { 4, 16, 20, 32 }, RIGHT = { 40, 16, 20, 32 };

/* Fills the features of video frame @frame of voice @voice. */
static void
fill_features (float *features, gsize n, guint voice, guint frame)
{
  for (gsize i = 0; i < n; i++)
    features[i] = (float) ((i * 31 + frame * 17 * voice + voice * voice) % 101) / 50.f - 1.f;
}

/* Pushes @frames video frames of @voice to a speaker. */
static void
push_voice (Fixture *f, AvatarDenoiser *self, guint speaker, guint voice, guint frames)
{
  const AvatarModelInfo *info = avatar_model_get_info (f->model);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n);
  g_autoptr (GError) error = NULL;

  for (guint frame = 0; frame < frames; frame++) {
    fill_features (features, n, voice, frame);
    avatar_denoiser_push_speaker (self, speaker, features, &error);
    g_assert_no_error (error);
  }
}

/* Returns the settings of @f with a face for each of two speakers, the second one @speaker. */
static AvatarDenoiseSettings
two_faces (const Fixture *f, AvatarFaceBox first, AvatarFaceBox second, AvatarSpeaker *speaker)
{
  AvatarDenoiseSettings s = f->settings;

  *speaker = (AvatarSpeaker){ .face_box = second };
  s.face_box = first;
  s.speakers = speaker;
  s.n_speakers = 1;
  return s;
}

static AvatarDenoiser *
start_two (Fixture *f, const AvatarDenoiseSettings *s, const char *name)
{
  g_autoptr (AvatarDevice) device = device_new (name, 0);
  g_autoptr (AvatarImage) image = portrait (7);
  g_autoptr (GError) error = NULL;
  AvatarDenoiser *self = avatar_denoiser_new (f->model, device, s, &error);

  g_assert_no_error (error);
  avatar_denoiser_set_reference (self, image, &error);
  g_assert_no_error (error);
  return self;
}

/* Returns the latents of both voices, with the two faces in @s. Free with g_free(). */
static float *
run_two (Fixture *f, const AvatarDenoiseSettings *s, guint first, guint second, const char *name)
{
  g_autoptr (AvatarDenoiser) self = start_two (f, s, name);
  float *out = g_new (float, LATENTS * f->n);

  push_voice (f, self, 0, first, FRAMES);
  push_voice (f, self, 1, second, FRAMES);
  g_assert_true (avatar_denoiser_drain (self, NULL));
  pull (f, self, LATENTS, out);
  check_memory (self);
  return out;
}

static void
expect_same (Fixture *f, const float *a, const float *b)
{
  g_assert_cmpmem (a, LATENTS * f->n * sizeof (float), b, LATENTS * f->n * sizeof (float));
}

static gboolean
differ (Fixture *f, const float *a, const float *b)
{
  return memcmp (a, b, LATENTS * f->n * sizeof (float)) != 0;
}

/* The order of the speakers does not matter if their faces do not overlap, but the voice of each
 * face does, in all modes, with guidance and with a step cache. */
static void
test_order (Fixture *f, gconstpointer data)
{
  static const struct
  {
    AvatarDenoiseMode mode;
    double guidance;
    AvatarStepCacheMode cache;
  } runs[] = { { AVATAR_DENOISE_MODE_STREAM, 1, AVATAR_STEP_CACHE_NONE },
    { AVATAR_DENOISE_MODE_STREAM, 3, AVATAR_STEP_CACHE_UPSTREAM },
    { AVATAR_DENOISE_MODE_CLIP, 3, AVATAR_STEP_CACHE_NONE } };

  for (guint i = 0; i < G_N_ELEMENTS (runs); i++) {
    AvatarSpeaker right, left;
    AvatarDenoiseSettings s = two_faces (f, LEFT, RIGHT, &right), swapped;
    g_autofree float *a = NULL, *b = NULL, *c = NULL;

    s.mode = runs[i].mode;
    s.guidance_scale = runs[i].guidance;
    s.step_cache = runs[i].cache;
    swapped = s;
    swapped.face_box = RIGHT;
    swapped.speakers = &left;
    left = (AvatarSpeaker){ .face_box = LEFT };
    a = run_two (f, &s, 1, 2, "cpu");
    b = run_two (f, &swapped, 2, 1, "cpu");
    c = run_two (f, &s, 2, 1, "cpu");
    expect_same (f, a, b);
    g_assert_true (differ (f, a, c));
  }
}

/* Returns the sum of squared differences of columns @x0 to @x1 of all latents. */
static double
distance (Fixture *f, const float *a, const float *b, guint x0, guint x1)
{
  double sum = 0;

  for (gsize i = 0; i < LATENTS * f->n; i++)
    if (i % (SIZE / 8) >= x0 && i % (SIZE / 8) < x1)
      sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

/* Another voice changes most the face that it belongs to. */
static void
test_faces (Fixture *f, gconstpointer data)
{
  AvatarSpeaker right;
  AvatarDenoiseSettings s = two_faces (f, LEFT, RIGHT, &right);
  g_autofree float *both = NULL, *left_speaks = NULL, *right_speaks = NULL;
  guint half = SIZE / 8 / 2, all = SIZE / 8;

  s.guidance_scale = 1;
  both = run_two (f, &s, 1, 1, "cpu");
  left_speaks = run_two (f, &s, 3, 1, "cpu");
  right_speaks = run_two (f, &s, 1, 3, "cpu");
  g_assert_cmpfloat (distance (f, both, left_speaks, 0, half), >,
      2 * distance (f, both, left_speaks, half, all));
  g_assert_cmpfloat (distance (f, both, right_speaks, half, all), >,
      2 * distance (f, both, right_speaks, 0, half));
}

/* A window waits for all speakers; what a further one lacks at the end is zeros, and what it has
 * after the end of the first one is not used. */
static void
test_lengths (Fixture *f, gconstpointer data)
{
  AvatarSpeaker right;
  AvatarDenoiseSettings s = two_faces (f, LEFT, RIGHT, &right);
  g_autoptr (AvatarDenoiser) lacks = start_two (f, &s, "cpu");
  g_autoptr (AvatarDenoiser) longer = start_two (f, &s, "cpu");
  gsize n = lacks->stream.n_features;
  g_autofree float *zeros = g_new0 (float, n), *a = g_new (float, LATENTS * f->n);
  g_autofree float *b = g_new (float, LATENTS * f->n);
  const guint have = 6;

  push_voice (f, lacks, 0, 1, FRAMES);
  push_voice (f, lacks, 1, 2, have);
  g_assert_false (avatar_denoiser_is_due (lacks));
  g_assert_cmpint (avatar_denoiser_pull (lacks, a, NULL), ==, AVATAR_PULL_EMPTY);
  avatar_denoiser_drain (lacks, NULL);
  pull (f, lacks, LATENTS, a);
  push_voice (f, longer, 1, 2, have);
  for (guint i = have; i < FRAMES; i++)
    g_assert_true (avatar_denoiser_push_speaker (longer, 1, zeros, NULL));
  push_voice (f, longer, 1, 2, FRAMES);
  push_voice (f, longer, 0, 1, FRAMES);
  g_assert_true (avatar_denoiser_is_due (longer));
  avatar_denoiser_drain (longer, NULL);
  pull (f, longer, LATENTS, b);
  expect_same (f, a, b);
  g_assert_false (avatar_denoiser_is_due (longer));
}

/* Replaced features are those of one speaker. Windows may be skipped, and features that come too
 * late for one are dropped. */
static void
test_replace_and_skip (Fixture *f, gconstpointer data)
{
  AvatarSpeaker right;
  AvatarDenoiseSettings s = two_faces (f, LEFT, RIGHT, &right);
  g_autoptr (AvatarDenoiser) self = start_two (f, &s, "cpu");
  const AvatarLatentStream *stream = &self->stream;
  g_autofree float *zeros = g_new0 (float, stream->n_features),
                   *latents = g_new (float, f->n *CHUNK);

  push_voice (f, self, 0, 1, FRAMES);
  push_voice (f, self, 1, 2, FRAMES);
  g_assert_true (avatar_denoiser_replace_speaker (self, 1, 3, 2, zeros, NULL));
  for (guint frame = 2; frame < 6; frame++) {
    gboolean zero = frame == 3 || frame == 4;

    g_assert_true (avatar_latent_stream_features (stream, 1, frame)[5] == 0 ? zero : !zero);
    g_assert_cmpfloat (avatar_latent_stream_features (stream, 0, frame)[5], !=, 0);
  }
  pull (f, self, CHUNK, latents);
  g_assert_cmpuint (avatar_denoiser_skip (self), ==, CHUNK - OVERLAP);
  g_assert_cmpuint (stream->tracks[1].features->len, ==, stream->tracks[0].features->len);
  avatar_denoiser_reset (self);
  g_assert_cmpuint (stream->tracks[1].pushed, ==, 0);
}

/* Each cell belongs to the largest mask, the first one of equal masks. A picture is reduced to
 * cells. */
static void
test_masks (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *pixels = g_malloc0 (SIZE * SIZE * 3);
  g_autoptr (AvatarImage) image = NULL;
  AvatarSpeaker speaker;
  AvatarDenoiseSettings s = two_faces (f, LEFT, (AvatarFaceBox){ 0, 0, 64, 64 }, &speaker);
  g_autofree float *first = avatar_speakers_make_masks (&f->settings, f->model);
  g_autofree float *boxes = avatar_speakers_make_masks (&s, f->model), *masks = NULL, *left = NULL;
  guint n = SIZE / 8 * SIZE / 8;
  double own = 0;

  for (guint i = 0; i < n; i++) {
    g_assert_true (boxes[i] == 1 ? boxes[n + i] == 0 : boxes[i] == 0 && boxes[n + i] == 1);
    own += boxes[i];
  }
  g_assert_cmpfloat (own, >, 0);
  g_assert_cmpfloat (own, <, n);
  g_assert_cmpfloat (first[0], ==, 1); /* one face without a box is the whole picture */
  for (guint i = 0; i < SIZE * SIZE; i++)
    pixels[3 * i] = i % SIZE >= 32 ? 255 : i % SIZE >= 24 ? 51 : 0;
  image = avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
  speaker = (AvatarSpeaker){ .face_mask = image };
  masks = avatar_speakers_make_masks (&s, f->model);
  s.n_speakers = 0;
  left = avatar_speakers_make_masks (&s, f->model);
  for (guint i = 0; i < n; i++) {
    float wanted = i % 8 >= 4 ? 1 : i % 8 == 3 ? 0.2f : 0, box = left[i];

    g_assert_cmpfloat (masks[i], ==, box >= wanted ? box : 0);
    g_assert_cmpfloat_with_epsilon (masks[n + i], box >= wanted ? 0 : wanted, 1e-6);
  }
}

/* Returns the planned bytes of the arena. */
static gsize
planned_bytes (Fixture *f, const AvatarDenoiseSettings *s)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarDenoiser) self = avatar_denoiser_new (f->model, device, s, NULL);
  gsize planned, peak;

  g_assert_nonnull (self);
  avatar_denoiser_get_arena (self, &planned, &peak);
  return planned;
}

/* The plan counts the keys and values and the mask of each speaker. */
static void
test_plan (Fixture *f, gconstpointer data)
{
  const AvatarTransformerConfig *c = &avatar_model_get_config (f->model)->transformer;
  const guint latents = 33, tokens = latents * (SIZE / 16) * (SIZE / 16);
  AvatarSpeaker right;
  AvatarDenoiseSettings s = two_faces (f, LEFT, RIGHT, &right);
  gsize kv = (gsize) c->n_adapters * latents * 4 * c->audio_tokens * 2 * c->adapter_dim, one, two;

  s.window_latents = latents;
  two = planned_bytes (f, &s);
  s.n_speakers = 0;
  one = planned_bytes (f, &s);
  g_assert_cmpuint (two, >=, one + kv * sizeof (float));
  g_assert_cmpuint (two, <=, one + (kv + 2 * tokens) * sizeof (float) + 512); /* alignment */
}

/* A run uses as much memory as was planned, and the bits on a GPU and on a group are those of the
 * CPU. */
static void
test_devices (Fixture *f, gconstpointer data)
{
  static const char *const devices[] = { "sim:512", "sim:512:0+sim:512:1" };
  AvatarSpeaker right;
  AvatarDenoiseSettings s = two_faces (f, LEFT, RIGHT, &right);
  g_autofree float *cpu = NULL;

  s.guidance_scale = 3;
  cpu = run_two (f, &s, 1, 2, "cpu");
  for (guint i = 0; i < G_N_ELEMENTS (devices); i++) {
    g_autofree float *out = run_two (f, &s, 1, 2, devices[i]);

    expect_same (f, cpu, out);
  }
}

/* Boxes may change between two windows. */
static void
test_change (Fixture *f, gconstpointer data)
{
  AvatarSpeaker right, moved;
  AvatarDenoiseSettings s = two_faces (f, LEFT, RIGHT, &right);
  AvatarDenoiseSettings to = two_faces (f, LEFT, (AvatarFaceBox){ 32, 8, 28, 40 }, &moved), more;
  AvatarSpeaker three[2] = { right, moved };
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDenoiser) self = NULL;

  f->settings = s;
  expect_as_new (f, "cpu", 0, &to, NULL, 1);
  self = start_two (f, &s, "cpu");
  more = s;
  more.speakers = three;
  more.n_speakers = 2;
  g_assert_false (avatar_denoiser_change (self, &more, NULL, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "the number of speakers cannot change"));
}

static void
expect_refused (Fixture *f, const AvatarDenoiseSettings *s, const char *text)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_denoiser_new (f->model, device, s, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  if (!strstr (error->message, text))
    g_error ("expected \"%s\" in \"%s\"", text, error->message);
}

static void
test_errors (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *pixels = g_malloc0 (32 * 64 * 3);
  g_autoptr (AvatarImage) narrow = avatar_image_new (32, 64, 3, 32 * 3, pixels, NULL);
  const AvatarFaceBox bad[] = { { 0 }, { 1, 1, NAN, 2 }, { 0, 0, -4, 8 }, { 0, 0, INFINITY, 1 } };
  AvatarSpeaker many[AVATAR_MAX_SPEAKERS] = { { .face_box = LEFT }, { .face_box = RIGHT },
    { .face_box = LEFT }, { .face_box = RIGHT } },
                speaker;
  AvatarDenoiseSettings s = two_faces (f, LEFT, RIGHT, &speaker);
  g_autoptr (AvatarDenoiser) self = start_two (f, &s, "cpu");
  g_autofree float *features = g_new0 (float, self->stream.n_features);
  g_autoptr (GError) error = NULL;

  g_assert_false (avatar_denoiser_push_speaker (self, 2, features, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_false (avatar_denoiser_replace_speaker (self, 2, 0, 1, features, NULL));
  features[3] = NAN;
  g_assert_false (avatar_denoiser_push_speaker (self, 1, features, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    speaker.face_box = bad[i];
    expect_refused (f, &s, "no face mask");
  }
  speaker.face_box = LEFT; /* the first speaker has all of it */
  expect_refused (f, &s, "nothing is left of the face of speaker 1");
  speaker.face_box = (AvatarFaceBox){ 500, 500, 20, 20 };
  expect_refused (f, &s, "nothing is left of the face of speaker 1");
  s.face_box = (AvatarFaceBox){ 0 }; /* the whole picture */
  speaker.face_box = RIGHT;
  expect_refused (f, &s, "nothing is left of the face of speaker 1");
  s.face_box = LEFT;
  speaker.face_mask = narrow;
  expect_refused (f, &s, "is 32x64; expected the size of the video, 64x64");
  s.speakers = many;
  s.n_speakers = AVATAR_MAX_SPEAKERS;
  expect_refused (f, &s, "at most 3 are possible");
  s.speakers = NULL;
  s.n_speakers = 1;
  expect_refused (f, &s, "without their settings");
  many[0]._reserved[1] = &s;
  s.speakers = many;
  expect_refused (f, &s, "AvatarSpeaker");
}

#define ADD(path, func) g_test_add ("/speakers/" path, Fixture, NULL, setup, func, teardown)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("order", test_order);
  ADD ("faces", test_faces);
  ADD ("lengths", test_lengths);
  ADD ("replace-and-skip", test_replace_and_skip);
  ADD ("masks", test_masks);
  ADD ("plan", test_plan);
  ADD ("devices", test_devices);
  ADD ("change", test_change);
  ADD ("errors", test_errors);
  return g_test_run ();
}
