// The rows of a stream that windows still need, in block RAM.
//
// Elements of one channel in L neighbouring places are a word. Words lie in a ring of blocks; a block has some words, each
// for PLANES * C channels (the rows and columns of a stride are planes of their own). A window reads, for each of its
// taps, L elements that begin anywhere in a word: with PAIR, memories of even and of odd words are read at once.
// Where a window leaves the image, `mask` is 0 and the element is 0. Which places that are, where each chunk of the
// stream is written, and how the ring goes on, is computed by the exporter and lies in three files.
module sn_lines #(
    parameter C = 1,  // channels
    parameter X = 8,  // bits of an element
    parameter SIGNED = 0,
    parameter S = 1,  // elements of a beat
    parameter U = 1,  // elements of a chunk of the stream
    parameter PH = 1,  // writes for a chunk
    parameter L = 1,  // elements of a word
    parameter Q = 1,  // chunks of a channel in a word of the stream
    parameter WORDS = 1,  // words of the stream for an image
    parameter PERIOD = 1,  // words of the stream after which writing repeats
    parameter integer DONE = 1,  // blocks that are full after a period
    parameter integer LAST_DONE = 1,  // and after the last word of an image
    parameter STEP = 1,  // the same in words of the ring, modulo its length
    parameter LAST_STEP = 1,
    parameter NS = 1,  // words of a block of the result
    parameter RING = 2,  // words of the ring
    parameter PLANES = 1,
    parameter PAIR = 0,
    parameter integer BLOCKS = 1,  // blocks of an image
    parameter integer READS = 1,  // times that an image is read: blocks of the result
    parameter integer AFTER = 0,  // blocks after the current one that windows reach
    parameter integer LIMIT = 1,  // a word is taken when at most so many blocks are held
    parameter TAPS = 1,
    parameter K = 1,  // kinds of taps: how far the elements are shifted, and where they are masked
    parameter [16*K-1:0] SHIFTS = 0,  // for each kind
    parameter WRITES_FILE = "",
    parameter TAPS_FILE = "",
    parameter MASKS_FILE = "",
    parameter CB = C > 1 ? $clog2(C) : 1,
    parameter TB = TAPS > 1 ? $clog2(TAPS) : 1,
    parameter NB = READS > 1 ? $clog2(READS) : 1,
    parameter SB = NS > 1 ? $clog2(NS) : 1,
    parameter RBITS = RING > 1 ? $clog2(RING) : 1
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [S*X-1:0] in_data,
    // reading: the answer comes seven cycles with `enable` later
    input wire enable,
    input wire [TB-1:0] tap,
    input wire [CB-1:0] channel,
    input wire [NB-1:0] block,
    input wire [SB-1:0] strip,
    input wire [RBITS-1:0] place,  // of the word without shift, in the ring
    output reg [L*(X+1)-1:0] lanes,  // signed
    output reg [L-1:0] mask,
    // progress
    input wire [NB-1:0] now,  // the block that is to be read next
    output reg ready,  // everything that it needs is here
    input wire taken,  // its last entry begins
    input wire take_image,  // and it is the last block of an image
    input wire freed,  // the last entry of a block was read
    input wire free_image
);
    localparam signed [15:0] DONE16 = DONE[15:0], LAST_DONE16 = LAST_DONE[15:0], BLOCKS16 = BLOCKS[15:0];
    localparam signed [15:0] AFTER16 = AFTER[15:0], LIMIT16 = LIMIT[15:0];
    localparam integer REST = BLOCKS - READS + 1;
    localparam signed [15:0] REST16 = REST[15:0];
    localparam A = U / PH;
    localparam GROUPS = L / A;
    localparam GB = GROUPS > 1 ? $clog2(GROUPS) : 1;
    localparam PC = PLANES * C;
    localparam PCB = PC > 1 ? $clog2(PC) : 1;
    localparam PARTS = PAIR + 1;  // memories
    localparam PLACES = RING / PARTS;  // words in each
    localparam PLB = PLACES > 1 ? $clog2(PLACES) : 1;
    localparam DEPTH = PLACES * PC;
    localparam AB = DEPTH > 1 ? $clog2(DEPTH) : 1;
    localparam [31:0] RING32 = RING;
    localparam [RBITS:0] LENGTH = RING32[RBITS:0];
    localparam [31:0] STEP32 = STEP, LAST_STEP32 = LAST_STEP;

    function [RBITS-1:0] around(input [RBITS:0] sum);
        /* verilator lint_off UNUSED */
        reg [RBITS:0] less;
        /* verilator lint_on UNUSED */
        begin
            less = sum - LENGTH;
            around = sum >= LENGTH ? less[RBITS-1:0] : sum[RBITS-1:0];
        end
    endfunction

    // where each word begins in its memory
    reg [AB-1:0] base [0:PLACES-1];
    /* verilator lint_off UNUSED */
    reg [31:0] i, at;
    /* verilator lint_on UNUSED */
    initial
        for (i = 0; i < PLACES; i = i + 1) begin
            at = i * PC;
            base[i[PLB-1:0]] = at[AB-1:0];
        end

    // writing: beats become chunks
    reg signed [15:0] held;
    wire beat = in_valid && in_ready;
    wire chunk_last, word_last, period_last, image_last, phase_last;
    /* verilator lint_off UNUSED */
    wire [(U/S > 1 ? $clog2(U/S) : 1)-1:0] unused_beat;
    wire [(C*Q*(U/S) > 1 ? $clog2(C*Q*(U/S)) : 1)-1:0] word_at;
    wire [(PERIOD > 1 ? $clog2(PERIOD) : 1)-1:0] unused_period;
    wire [(WORDS > 1 ? $clog2(WORDS) : 1)-1:0] unused_word;
    /* verilator lint_on UNUSED */
    sn_count #(.N(U/S)) count_beat (.clk(clk), .rst(rst), .step(beat), .value(unused_beat), .last(chunk_last));
    sn_count #(.N(C*Q*(U/S))) count_word (.clk(clk), .rst(rst), .step(beat), .value(word_at), .last(word_last));
    sn_count #(.N(PERIOD)) count_period (
        .clk(clk), .rst(rst || (beat && word_last && image_last)), .step(beat && word_last), .value(unused_period),
        .last(period_last));
    sn_count #(.N(WORDS)) count_image (
        .clk(clk), .rst(rst), .step(beat && word_last), .value(unused_word), .last(image_last));
    reg chunk_valid;
    reg may_begin;  // a word; one cycle late, so it is 0 in the cycle after a word
    always @(posedge clk) may_begin <= !rst && !(beat && word_last) && held <= LIMIT16;
    assign in_ready = (word_at != 0 || may_begin) && (!chunk_last || !chunk_valid || phase_last);
    reg [U*X-1:0] chunk;
    generate
        if (U > S) begin : collect
            reg [(U-S)*X-1:0] earlier;
            always @(posedge clk) begin
                /* verilator lint_off WIDTH */
                if (beat) earlier <= {in_data, earlier} >> (S*X);
                /* verilator lint_on WIDTH */
                if (beat && chunk_last) chunk <= {in_data, earlier};
                else chunk <= chunk >> X;
            end
        end else begin : direct
            always @(posedge clk)
                if (beat) chunk <= in_data;
                else chunk <= chunk >> X;
        end
    endgenerate
    always @(posedge clk)
        if (rst) chunk_valid <= 0;
        else if (beat && chunk_last) chunk_valid <= 1;
        else if (phase_last) chunk_valid <= 0;

    // chunks are written
    localparam INDICES = PERIOD * Q * PH;
    localparam IB = INDICES > 1 ? $clog2(INDICES) : 1;
    localparam WW = 1 + GB + RBITS + PCB;
    wire q_last, c_last, p_last, n_last;
    wire [CB-1:0] write_channel;
    /* verilator lint_off UNUSED */
    wire [(PH > 1 ? $clog2(PH) : 1)-1:0] unused_phase;
    wire [(Q > 1 ? $clog2(Q) : 1)-1:0] unused_q;
    wire [(PERIOD > 1 ? $clog2(PERIOD) : 1)-1:0] unused_p;
    wire [(WORDS > 1 ? $clog2(WORDS) : 1)-1:0] unused_n;
    /* verilator lint_on UNUSED */
    wire all_q = chunk_valid && phase_last && q_last;
    wire all_c = all_q && c_last;
    sn_count #(.N(PH)) count_phase (
        .clk(clk), .rst(rst), .step(chunk_valid), .value(unused_phase), .last(phase_last));
    sn_count #(.N(Q)) count_q (
        .clk(clk), .rst(rst), .step(chunk_valid && phase_last), .value(unused_q), .last(q_last));
    sn_count #(.N(C)) count_c (.clk(clk), .rst(rst), .step(all_q), .value(write_channel), .last(c_last));
    sn_count #(.N(PERIOD)) count_p (
        .clk(clk), .rst(rst || (all_c && n_last)), .step(all_c), .value(unused_p), .last(p_last));
    sn_count #(.N(WORDS)) count_n (.clk(clk), .rst(rst), .step(all_c), .value(unused_n), .last(n_last));
    reg [IB-1:0] index, first_index;
    always @(posedge clk)
        if (rst) begin
            index <= 0;
            first_index <= 0;
        end else if (all_c) begin
            index <= p_last || n_last ? 0 : index + 1;
            first_index <= p_last || n_last ? 0 : index + 1;
        end else if (all_q) index <= first_index;
        else if (chunk_valid) index <= index + 1;

    wire [A*X-1:0] picked;
    genvar g, l, k;
    generate
        for (g = 0; g < A; g = g + 1) begin : pick
            assign picked[g*X +: X] = chunk[g*PH*X +: X];
        end
    endgenerate
    wire [WW-1:0] how;
    sn_rom #(.W(WW), .DEPTH(INDICES), .FILE(WRITES_FILE)) writes (
        .clk(clk), .enable(1'b1), .at(index), .out(how));
    wire w2, w2_full, w2_image;
    sn_flag #(.N(2)) flag_w2 (.clk(clk), .rst(rst), .enable(1'b1), .in(chunk_valid), .out(w2));
    sn_flag #(.N(2)) flag_full (
        .clk(clk), .rst(rst), .enable(1'b1), .in(all_c && (p_last || n_last)), .out(w2_full));
    sn_flag #(.N(2)) flag_image (.clk(clk), .rst(rst), .enable(1'b1), .in(all_c && n_last), .out(w2_image));
    wire [A*X-1:0] w2_data;
    wire [CB-1:0] w2_channel;
    sn_delay #(.W(A*X + CB), .N(2)) delay_w2 (
        .clk(clk), .enable(1'b1), .in({picked, write_channel}), .out({w2_data, w2_channel}));
    wire w2_on;
    wire [GB-1:0] w2_group;
    wire [RBITS-1:0] w2_word;
    wire [PCB-1:0] w2_plane;
    assign {w2_on, w2_group, w2_word, w2_plane} = how;
    reg [RBITS-1:0] writing;  // the place of the first block that is not full
    reg w3, w3_full, w3_image;
    reg [A*X-1:0] w3_data;
    reg [GB-1:0] w3_group;
    reg [RBITS-1:0] w3_place;
    reg [PCB-1:0] w3_row;
    reg w4;
    reg [PARTS*GROUPS-1:0] w4_on;
    reg [A*X-1:0] w4_data;
    reg [AB-1:0] w4_at;
    integer part, group;
    /* verilator lint_off UNUSED */
    wire [RBITS-1:0] w3_half = w3_place >> PAIR;
    /* verilator lint_on UNUSED */
    always @(posedge clk) begin
        w3_data <= w2_data;
        w3_group <= w2_group;
        w3_place <= around({1'b0, writing} + {1'b0, w2_word});
        w3_row <= w2_plane + {{(PCB-CB){1'b0}}, w2_channel};
        w3_full <= w2_full;
        w3_image <= w2_image;
        w4_data <= w3_data;
        w4_at <= base[w3_half[PLB-1:0]] + {{(AB-PCB){1'b0}}, w3_row};
        for (part = 0; part < PARTS; part = part + 1)
            for (group = 0; group < GROUPS; group = group + 1)
                w4_on[part*GROUPS + group] <= w3_group == group[GB-1:0] && (PAIR == 0 || w3_place[0] == part[0]);
        if (rst) begin
            w3 <= 0;
            w4 <= 0;
            writing <= 0;
        end else begin
            w3 <= w2 && w2_on;
            w4 <= w3;
            if (w2_full) writing <= around({1'b0, writing}
                + {1'b0, w2_image ? LAST_STEP32[RBITS-1:0] : STEP32[RBITS-1:0]});
        end
    end

    // progress
    reg signed [15:0] ahead;  // full blocks from the current one on
    wire signed [15:0] add_ahead = !w3_full ? 16'sd0 : w3_image ? LAST_DONE16 : DONE16;
    wire signed [15:0] add_held = !(beat && word_last) ? 16'sd0 : image_last ? LAST_DONE16 : period_last ? DONE16 : 16'sd0;
    wire signed [15:0] left = BLOCKS16 - $signed({{(16-NB){1'b0}}, now});
    always @(posedge clk) ready <= !rst && !taken && (ahead > AFTER16 || ahead >= left);
    always @(posedge clk)
        if (rst) begin
            ahead <= 0;
            held <= 0;
        end else begin
            ahead <= ahead + add_ahead - (!taken ? 16'sd0 : take_image ? REST16 : 16'sd1);
            held <= held + add_held - (!freed ? 16'sd0 : free_image ? REST16 : 16'sd1);
        end

    // reading
    localparam KB = K > 1 ? $clog2(K) : 1;
    localparam TW = 4*(NB+1) + RBITS + PCB + KB;
    wire [TW-1:0] r2_how;
    sn_rom #(.W(TW), .DEPTH(TAPS), .FILE(TAPS_FILE)) taps (
        .clk(clk), .enable(enable), .at(tap), .out(r2_how));
    wire [CB-1:0] r2_channel;
    wire [NB-1:0] r2_block;
    wire [SB-1:0] r2_strip;
    wire [RBITS-1:0] r2_place;
    sn_delay #(.W(CB + NB + SB + RBITS), .N(2)) delay_r2 (
        .clk(clk), .enable(enable), .in({channel, block, strip, place}),
        .out({r2_channel, r2_block, r2_strip, r2_place}));
    wire [NB:0] from0, to0, from1, to1;  // the blocks of the result for which the words are in the image
    wire [RBITS-1:0] r2_word;
    wire [PCB-1:0] r2_plane;
    wire [KB-1:0] r2_kind;
    assign {from0, to0, from1, to1, r2_word, r2_plane, r2_kind} = r2_how;
    reg [RBITS-1:0] r3_place;
    reg [PCB-1:0] r3_row;
    reg [KB-1:0] r3_kind;
    reg [SB-1:0] r3_strip;
    reg [1:0] r3_inside;
    /* verilator lint_off UNUSED */
    wire [RBITS-1:0] r3_next = around({1'b0, r3_place} + 1);
    wire [RBITS-1:0] r3_even = (r3_place[0] ? r3_next : r3_place) >> PAIR;
    wire [RBITS-1:0] r3_odd = (r3_place[0] ? r3_place : r3_next) >> PAIR;
    wire [RBITS-1:0] r3_first = PAIR != 0 ? r3_even : r3_place;
    /* verilator lint_on UNUSED */
    reg [PARTS*AB-1:0] r4_at;
    reg r4_swap;
    reg [KB-1:0] r4_kind;
    reg [SB-1:0] r4_strip;
    reg [1:0] r4_inside;
    wire [AB-1:0] r3_wide = {{(AB-PCB){1'b0}}, r3_row};
    always @(posedge clk)
        if (enable) begin
            r3_place <= around({1'b0, r2_place} + {1'b0, r2_word});
            r3_row <= r2_plane + {{(PCB-CB){1'b0}}, r2_channel};
            r3_kind <= r2_kind;
            r3_strip <= r2_strip;
            r3_inside <= {{1'b0, r2_block} >= from1 && {1'b0, r2_block} < to1,
                          {1'b0, r2_block} >= from0 && {1'b0, r2_block} < to0};
            r4_at[0 +: AB] <= base[r3_first[PLB-1:0]] + r3_wide;
            if (PAIR != 0) r4_at[(PARTS-1)*AB +: AB] <= base[r3_odd[PLB-1:0]] + r3_wide;
            r4_swap <= PAIR != 0 && r3_place[0];
            r4_kind <= r3_kind;
            r4_strip <= r3_strip;
            r4_inside <= r3_inside;
        end
    wire [PARTS*L*X-1:0] r6_words;
    genvar p;
    generate
        for (p = 0; p < PARTS; p = p + 1) begin : half
            for (g = 0; g < GROUPS; g = g + 1) begin : bank
                sn_ram #(.W(A*X), .DEPTH(DEPTH)) ram (
                    .clk(clk), .write(w4 && w4_on[p*GROUPS + g]), .write_at(w4_at), .in(w4_data),
                    .enable(enable), .read_at(r4_at[p*AB +: AB]), .out(r6_words[(p*GROUPS + g)*A*X +: A*X]));
            end
        end
    endgenerate
    // masks: a row for each strip and kind
    wire [L-1:0] r6_mask;
    sn_rom #(.W(L), .DEPTH(1 << (SB + KB)), .FILE(MASKS_FILE)) masks (
        .clk(clk), .enable(enable), .at({r4_strip, r4_kind}), .out(r6_mask));
    wire r6_swap;
    wire [1:0] r6_inside;
    sn_delay #(.W(3), .N(2)) delay_r6 (
        .clk(clk), .enable(enable), .in({r4_swap, r4_inside}), .out({r6_swap, r6_inside}));
    reg [KB-1:0] r5_kind;
    reg [K-1:0] r6_kind;  // one bit for each kind
    integer kind_at;
    always @(posedge clk)
        if (enable) begin
            r5_kind <= r4_kind;
            for (kind_at = 0; kind_at < K; kind_at = kind_at + 1) r6_kind[kind_at] <= r5_kind == kind_at[KB-1:0];
        end
    // both words in their order, and for each kind of tap the lanes it takes
    /* verilator lint_off UNUSED */
    wire [2*L*X-1:0] r6_both = PAIR == 0 ? {{(L*X){1'b0}}, r6_words[0 +: L*X]}
        : r6_swap ? {r6_words[0 +: L*X], r6_words[(PARTS-1)*L*X +: L*X]}
        : {r6_words[(PARTS-1)*L*X +: L*X], r6_words[0 +: L*X]};
    /* verilator lint_on UNUSED */
    generate
        for (l = 0; l < L; l = l + 1) begin : lane
            wire [K*(X+1)-1:0] choices;  // for each kind of tap, with the bit that the word is in the image
            for (k = 0; k < K; k = k + 1) begin : kind
                localparam signed [31:0] FROM = $signed({{16{SHIFTS[16*k + 15]}}, SHIFTS[16*k +: 16]}) + l;
                if (FROM >= 0 && FROM < L * PARTS) begin : take
                    assign choices[k*(X+1) +: X+1] =
                        {r6_inside[FROM >= L ? 1 : 0], r6_both[FROM*X +: X]} & {(X+1){r6_kind[k]}};
                end else begin : none
                    assign choices[k*(X+1) +: X+1] = 0;
                end
            end
            reg [X:0] chosen;
            integer n;
            always @(*) begin
                chosen = 0;
                for (n = 0; n < K; n = n + 1) chosen = chosen | choices[n*(X+1) +: X+1];
            end
            wire on = chosen[X] && r6_mask[l];
            always @(posedge clk)
                if (enable) begin
                    mask[l] <= on;
                    lanes[l*(X+1) +: X+1] <= on ? {SIGNED != 0 && chosen[X-1], chosen[X-1:0]} : 0;
                end
        end
    endgenerate
endmodule
