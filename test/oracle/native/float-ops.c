/*
 * Runs single floating-point instructions of the processor underneath: records of 48 bytes come in on standard input
 * (operation, control, immediate, pad, two operands of 16 bytes), records of 48 bytes go out (two results, status).
 * For x87, control is the control word and status the status word; results are ST0 and ST1, or what was stored.
 * For SSE, control is MXCSR (exceptions masked), status is MXCSR's flags with RFLAGS above. Build: gcc -O1 -msse4.1.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct request {
  uint32_t operation, control, immediate, pad;
  uint8_t a[16], b[16];
};

struct response {
  uint8_t first[16], second[16];
  uint32_t status, pad[3];
};

struct __attribute__((packed)) x87_image {
  uint32_t control, status, tags, ip, cs, dp, ds;
  uint8_t st[8][10];
};

static void x87_result(const struct x87_image *image, struct response *out)
{
  memcpy(out->first, image->st[0], 10);
  memcpy(out->second, image->st[1], 10);
  out->status = image->status & 0xffff;
}

#define X87(number, text) \
  case number: { \
    struct x87_image image; \
    uint16_t cw = in->control; \
    __asm__ volatile("fninit; fldt %[b]; fldt %[a]; fldcw %[cw]; " text "; fnsave %[image]" \
      : [image] "=m"(image) : [a] "m"(in->a), [b] "m"(in->b), [cw] "m"(cw)); \
    x87_result(&image, out); \
    return; \
  }

#define X87_LOAD(number, text) \
  case number: { \
    struct x87_image image; \
    uint16_t cw = in->control; \
    __asm__ volatile("fninit; fldcw %[cw]; " text " %[a]; fnsave %[image]" \
      : [image] "=m"(image) : [a] "m"(in->a), [cw] "m"(cw)); \
    x87_result(&image, out); \
    return; \
  }

#define X87_STORE(number, text) \
  case number: { \
    struct x87_image image; \
    uint16_t cw = in->control; \
    memset(out->first, 0xcc, 16); \
    __asm__ volatile("fninit; fldt %[a]; fldcw %[cw]; " text " %[to]; fnsave %[image]" \
      : [image] "=m"(image), [to] "+m"(out->first) : [a] "m"(in->a), [cw] "m"(cw)); \
    out->status = image.status & 0xffff; \
    return; \
  }

static void run_x87(const struct request *in, struct response *out)
{
  switch (in->operation) {
    X87(0, "fadd %%st(1), %%st")
    X87(1, "fsub %%st(1), %%st")
    X87(2, "fmul %%st(1), %%st")
    X87(3, "fdiv %%st(1), %%st")
    X87(4, "fsqrt")
    X87(5, "frndint")
    X87(6, "fcom %%st(1)")
    X87(7, "fucom %%st(1)")
    X87(8, "fxam")
    X87(9, "fscale")
    X87(10, "fxtract")
    X87(11, "fprem")
    X87(12, "fprem1")
    X87(13, "f2xm1")
    X87(14, "fyl2x")
    X87(15, "fyl2xp1")
    X87(16, "fsin")
    X87(17, "fcos")
    X87(18, "fsincos")
    X87(19, "fptan")
    X87(20, "fpatan")
    X87(21, "fldl2t")
    X87(22, "fldl2e")
    X87(23, "fldpi")
    X87(24, "fldlg2")
    X87(25, "fldln2")
    X87_LOAD(32, "flds")
    X87_LOAD(33, "fldl")
    X87_LOAD(34, "filds")
    X87_LOAD(35, "fildl")
    X87_LOAD(36, "fildll")
    X87_LOAD(37, "fbld")
    X87_STORE(40, "fstps")
    X87_STORE(41, "fstpl")
    X87_STORE(42, "fistps")
    X87_STORE(43, "fistpl")
    X87_STORE(44, "fistpll")
    X87_STORE(45, "fisttps")
    X87_STORE(46, "fisttpl")
    X87_STORE(47, "fisttpll")
    X87_STORE(48, "fbstp")
  }
  abort();
}

#define SSE(number, text) \
  case number: \
    __asm__ volatile("ldmxcsr %[in]; movups %[a], %%xmm0; movups %[b], %%xmm1; " text "; movups %%xmm0, %[r];" \
      "stmxcsr %[after]" \
      : [r] "=m"(out->first), [after] "=m"(after) : [in] "m"(mxcsr), [a] "m"(in->a), [b] "m"(in->b) \
      : "xmm0", "xmm1"); \
    break;

#define SSE_PAIR(number, name) SSE(number, name "ss %%xmm1, %%xmm0") SSE(number + 1, name "sd %%xmm1, %%xmm0")
#define SSE_COMPARE(number, name) SSE_PAIR(number, "cmp" name)

#define SSE_ORDER(number, text) \
  case number: { \
    uint64_t flags; \
    __asm__ volatile("ldmxcsr %[in]; movups %[a], %%xmm0; movups %[b], %%xmm1; " text " %%xmm1, %%xmm0; pushfq;" \
      "popq %[flags]; stmxcsr %[after]" \
      : [flags] "=r"(flags), [after] "=m"(after) : [in] "m"(mxcsr), [a] "m"(in->a), [b] "m"(in->b) \
      : "xmm0", "xmm1", "cc"); \
    out->status = (uint32_t)(flags & 0x8d5) << 16; \
    break; \
  }

#define SSE_TO_INTEGER(number, text) \
  case number: { \
    uint64_t value; \
    __asm__ volatile("ldmxcsr %[in]; movups %[a], %%xmm0; " text "; stmxcsr %[after]" \
      : [value] "=r"(value), [after] "=m"(after) : [in] "m"(mxcsr), [a] "m"(in->a) : "xmm0"); \
    memcpy(out->first, &value, 8); \
    break; \
  }

#define SSE_FROM_INTEGER(number, text) \
  case number: { \
    uint64_t value; \
    memcpy(&value, in->a, 8); \
    __asm__ volatile("ldmxcsr %[in]; xorps %%xmm0, %%xmm0; " text "; movups %%xmm0, %[r]; stmxcsr %[after]" \
      : [r] "=m"(out->first), [after] "=m"(after) : [value] "r"(value), [in] "m"(mxcsr) : "xmm0"); \
    break; \
  }

#define ROUND(number, immediate) \
  SSE(number + 2 * immediate, "roundss $" #immediate ", %%xmm0, %%xmm0") \
  SSE(number + 2 * immediate + 1, "roundsd $" #immediate ", %%xmm0, %%xmm0")

static void run_sse(const struct request *in, struct response *out)
{
  const uint32_t ours = 0x1f80;
  uint32_t mxcsr = in->control, after = 0;
  switch (in->operation) {
    SSE_PAIR(100, "add")
    SSE_PAIR(102, "sub")
    SSE_PAIR(104, "mul")
    SSE_PAIR(106, "div")
    SSE_PAIR(108, "min")
    SSE_PAIR(110, "max")
    SSE(112, "sqrtss %%xmm0, %%xmm0")
    SSE(113, "sqrtsd %%xmm0, %%xmm0")
    SSE_COMPARE(120, "eq")
    SSE_COMPARE(122, "lt")
    SSE_COMPARE(124, "le")
    SSE_COMPARE(126, "unord")
    SSE_COMPARE(128, "neq")
    SSE_COMPARE(130, "nlt")
    SSE_COMPARE(132, "nle")
    SSE_COMPARE(134, "ord")
    SSE_ORDER(140, "comiss")
    SSE_ORDER(141, "comisd")
    SSE_ORDER(142, "ucomiss")
    SSE_ORDER(143, "ucomisd")
    SSE_TO_INTEGER(150, "cvtss2sil %%xmm0, %k[value]")
    SSE_TO_INTEGER(151, "cvtsd2sil %%xmm0, %k[value]")
    SSE_TO_INTEGER(152, "cvtss2siq %%xmm0, %[value]")
    SSE_TO_INTEGER(153, "cvtsd2siq %%xmm0, %[value]")
    SSE_TO_INTEGER(154, "cvttss2sil %%xmm0, %k[value]")
    SSE_TO_INTEGER(155, "cvttsd2sil %%xmm0, %k[value]")
    SSE_TO_INTEGER(156, "cvttss2siq %%xmm0, %[value]")
    SSE_TO_INTEGER(157, "cvttsd2siq %%xmm0, %[value]")
    SSE_FROM_INTEGER(160, "cvtsi2ssl %k[value], %%xmm0")
    SSE_FROM_INTEGER(161, "cvtsi2sdl %k[value], %%xmm0")
    SSE_FROM_INTEGER(162, "cvtsi2ssq %[value], %%xmm0")
    SSE_FROM_INTEGER(163, "cvtsi2sdq %[value], %%xmm0")
    SSE(164, "cvtss2sd %%xmm0, %%xmm0")
    SSE(165, "cvtsd2ss %%xmm0, %%xmm0")
    SSE(166, "rcpss %%xmm0, %%xmm0")
    SSE(167, "rsqrtss %%xmm0, %%xmm0")
    ROUND(170, 0) ROUND(170, 1) ROUND(170, 2) ROUND(170, 3) ROUND(170, 4)
    ROUND(170, 8) ROUND(170, 9) ROUND(170, 10) ROUND(170, 11) ROUND(170, 12)
    default: abort();
  }
  __asm__ volatile("ldmxcsr %0" : : "m"(ours));
  out->status |= after & 0x3f;
}

int main(void)
{
  enum { BATCH = 4096 };
  struct request *in = malloc(BATCH * sizeof *in);
  struct response *out = malloc(BATCH * sizeof *out);
  for (;;) {
    size_t count = fread(in, sizeof *in, BATCH, stdin);
    if (count == 0) return 0;
    memset(out, 0, count * sizeof *out);
    for (size_t i = 0; i < count; i++) {
      if (in[i].operation < 100) run_x87(&in[i], &out[i]);
      else run_sse(&in[i], &out[i]);
    }
    if (fwrite(out, sizeof *out, count, stdout) != count) return 1;
  }
}
