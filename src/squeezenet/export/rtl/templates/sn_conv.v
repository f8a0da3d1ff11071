// A convolution, or several that read the same value (the two expand layers of a Fire module).
//
// For each word of the result, it goes through a list of the weights that are not 0, output by output. An entry has
// the level, the input channel and the tap; L multipliers apply it to L places of the image at once.
module sn_conv #(
    // of the lines
    parameter C = 1, parameter X = 8, parameter SIGNED = 0, parameter S = 1, parameter U = 1, parameter PH = 1,
    parameter L = 1, parameter Q = 1, parameter WORDS = 1, parameter PERIOD = 1,
    parameter integer DONE = 1, parameter integer LAST_DONE = 1, parameter STEP = 1,
    parameter LAST_STEP = 1, parameter NS = 1, parameter RING = 2, parameter SKIP = 1, parameter NEXT = 1, parameter PLANES = 1,
    parameter PAIR = 0, parameter integer BLOCKS = 1, parameter integer READS = 1,
    parameter integer AFTER = 0, parameter integer LIMIT = 1, parameter TAPS = 1, parameter K = 1,
    parameter [16*K-1:0] SHIFTS = 0,
    parameter WRITES_FILE = "", parameter TAPS_FILE = "", parameter MASKS_FILE = "",
    // of the weights
    parameter ENTRIES = 1,
    parameter LEVEL = 4,  // bits of a level
    parameter LOGIC = 0,  // multiplications without multipliers
    parameter ENTRIES_FILE = "",  // the last of an output (1 bit), level, channel, tap
    // of the result
    parameter OUT = 1, parameter OUT_S = 1, parameter ACC = 20, parameter OUT_X = 8, parameter NT = 1,
    parameter [8*NT-1:0] FACTOR_SHIFTS = 12, parameter LEAST = 12,
    parameter signed [31:0] LOW = 0, parameter signed [31:0] HIGH = 255, parameter BIAS = 24, parameter FACTORS_FILE = ""
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [S*X-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [OUT_S*OUT_X-1:0] out_data
);
    localparam CB = C > 1 ? $clog2(C) : 1;
    localparam TB = TAPS > 1 ? $clog2(TAPS) : 1;
    localparam NB = READS > 1 ? $clog2(READS) : 1;
    localparam SB = NS > 1 ? $clog2(NS) : 1;
    localparam RBITS = RING > 1 ? $clog2(RING) : 1;
    localparam EB = ENTRIES > 1 ? $clog2(ENTRIES) : 1;
    localparam W = 1 + LEVEL + CB + TB;
    localparam LATENCY = 7;  // of the lines

    wire enable, ready, running, taken, image, entry_last;
    wire [EB-1:0] entry;
    wire [NB-1:0] block, e2_block;
    wire [SB-1:0] strip, e2_strip;
    wire [RBITS-1:0] place, e2_place;
    sn_walk #(.READS(READS), .NS(NS), .RING(RING), .SKIP(SKIP), .NEXT(NEXT)) walk (
        .clk(clk), .rst(rst), .enable(enable), .ready(ready), .entry_last(entry_last), .running(running),
        .block(block), .strip(strip), .place(place), .taken(taken), .image(image));
    sn_count #(.N(ENTRIES)) count (
        .clk(clk), .rst(rst), .step(enable && running), .value(entry), .last(entry_last));
    wire [W-1:0] found;
    sn_rom #(.W(W), .DEPTH(ENTRIES), .FILE(ENTRIES_FILE)) entries (
        .clk(clk), .enable(enable), .at(entry), .out(found));
    sn_delay #(.W(NB + SB + RBITS), .N(2)) delay_walk (
        .clk(clk), .enable(enable), .in({block, strip, place}), .out({e2_block, e2_strip, e2_place}));
    wire e2_valid, e7_taken, e7_image;
    sn_flag #(.N(2)) flag_e2 (.clk(clk), .rst(rst), .enable(enable), .in(running), .out(e2_valid));
    sn_flag #(.N(7)) flag_taken (.clk(clk), .rst(rst), .enable(enable), .in(taken), .out(e7_taken));
    sn_flag #(.N(7)) flag_image (.clk(clk), .rst(rst), .enable(enable), .in(taken && image), .out(e7_image));
    wire e2_last;
    wire signed [LEVEL-1:0] e2_level;
    wire [CB-1:0] e2_channel;
    wire [TB-1:0] e2_tap;
    assign {e2_last, e2_level, e2_channel, e2_tap} = found;
    wire [L*(X+1)-1:0] lanes;
    /* verilator lint_off UNUSED */
    wire [L-1:0] unused_mask;
    /* verilator lint_on UNUSED */
    sn_lines #(
        .C(C), .X(X), .SIGNED(SIGNED), .S(S), .U(U), .PH(PH), .L(L), .Q(Q), .WORDS(WORDS), .PERIOD(PERIOD),
        .DONE(DONE), .LAST_DONE(LAST_DONE), .STEP(STEP), .LAST_STEP(LAST_STEP), .NS(NS), .RING(RING),
        .PLANES(PLANES), .PAIR(PAIR), .BLOCKS(BLOCKS), .READS(READS), .AFTER(AFTER), .LIMIT(LIMIT), .TAPS(TAPS),
        .K(K), .SHIFTS(SHIFTS), .WRITES_FILE(WRITES_FILE), .TAPS_FILE(TAPS_FILE), .MASKS_FILE(MASKS_FILE)
    ) lines (
        .clk(clk), .rst(rst), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data), .enable(enable),
        .tap(e2_tap), .channel(e2_channel), .block(e2_block), .strip(e2_strip), .place(e2_place), .lanes(lanes),
        .mask(unused_mask), .ready(ready), .now(block), .taken(taken), .take_image(image),
        .freed(e7_taken && enable), .free_image(e7_image));
    wire m0_valid, m0_last;
    wire signed [LEVEL-1:0] m0_level;
    sn_flag #(.N(LATENCY)) flag_m0 (.clk(clk), .rst(rst), .enable(enable), .in(e2_valid), .out(m0_valid));
    sn_delay #(.W(LEVEL + 1), .N(LATENCY)) delay_m0 (
        .clk(clk), .enable(enable), .in({e2_last, e2_level}), .out({m0_last, m0_level}));
    reg m1_valid, m1_last, m2_valid, m2_last, fresh;
    wire [L*ACC-1:0] sums;
    genvar l;
    generate
        for (l = 0; l < L; l = l + 1) begin : lane
            wire signed [X+LEVEL:0] product;
            sn_times #(.XB(X + 1), .WB(LEVEL), .LOGIC(LOGIC)) times (
                .clk(clk), .enable(enable), .x(lanes[l*(X+1) +: X+1]), .w(m0_level), .product(product));
            /* verilator lint_off UNUSED */
            wire [ACC+X+LEVEL:0] wide = {{ACC{product[X+LEVEL]}}, product};
            /* verilator lint_on UNUSED */
            reg [ACC-1:0] sum;
            always @(posedge clk) if (enable && m1_valid) sum <= (fresh ? 0 : sum) + wide[ACC-1:0];
            assign sums[l*ACC +: ACC] = sum;
        end
    endgenerate
    wire busy;
    wire load = m2_valid && m2_last && !busy;
    assign enable = !(m2_valid && m2_last && busy);
    always @(posedge clk)
        if (rst) begin
            m1_valid <= 0;
            m2_valid <= 0;
            fresh <= 1;
        end else if (enable) begin
            m1_valid <= m0_valid;
            m2_valid <= m1_valid;
            if (m1_valid) fresh <= m1_last;
        end
    always @(posedge clk)
        if (enable) begin
            m1_last <= m0_last;
            m2_last <= m1_last;
        end
    sn_emit #(
        .C(OUT), .L(L), .S(OUT_S), .ACC(ACC), .X(OUT_X), .NT(NT), .SHIFTS(FACTOR_SHIFTS), .LEAST(LEAST), .LOW(LOW),
        .HIGH(HIGH), .BIAS(BIAS), .FILE(FACTORS_FILE)
    ) emit (
        .clk(clk), .rst(rst), .load(load), .sums(sums), .busy(busy), .out_valid(out_valid), .out_ready(out_ready),
        .out_data(out_data));
endmodule
