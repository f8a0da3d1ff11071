// Maximum or mean over windows: for each word of the result, all channels, and all taps of each.
module sn_pool #(
    // of the lines
    parameter C = 1, parameter X = 8, parameter SIGNED = 0, parameter S = 1, parameter U = 1, parameter PH = 1,
    parameter L = 1, parameter Q = 1, parameter WORDS = 1, parameter PERIOD = 1,
    parameter integer DONE = 1, parameter integer LAST_DONE = 1, parameter STEP = 1,
    parameter LAST_STEP = 1, parameter NS = 1, parameter RING = 2, parameter SKIP = 1, parameter NEXT = 1, parameter PLANES = 1,
    parameter PAIR = 0, parameter integer BLOCKS = 1, parameter integer READS = 1,
    parameter integer AFTER = 0, parameter integer LIMIT = 1, parameter TAPS = 1, parameter K = 1,
    parameter [16*K-1:0] SHIFTS = 0,
    parameter WRITES_FILE = "", parameter TAPS_FILE = "", parameter MASKS_FILE = "",
    parameter MEAN = 0,
    // of the result
    parameter OUT_S = 1, parameter ACC = 20, parameter OUT_X = 8, parameter NT = 1,
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
    localparam LATENCY = 7;  // of the lines

    wire enable, ready, running, taken, image, tap_last, channel_last;
    wire [TB-1:0] tap;
    wire [CB-1:0] channel;
    wire [NB-1:0] block;
    wire [SB-1:0] strip;
    wire [RBITS-1:0] place;
    sn_walk #(.READS(READS), .NS(NS), .RING(RING), .SKIP(SKIP), .NEXT(NEXT)) walk (
        .clk(clk), .rst(rst), .enable(enable), .ready(ready), .entry_last(tap_last && channel_last),
        .running(running), .block(block), .strip(strip), .place(place), .taken(taken), .image(image));
    sn_count #(.N(TAPS)) count_tap (
        .clk(clk), .rst(rst), .step(enable && running), .value(tap), .last(tap_last));
    sn_count #(.N(C)) count_channel (
        .clk(clk), .rst(rst), .step(enable && running && tap_last), .value(channel), .last(channel_last));
    wire e5_taken, e5_image;
    sn_flag #(.N(5)) flag_taken (.clk(clk), .rst(rst), .enable(enable), .in(taken), .out(e5_taken));
    sn_flag #(.N(5)) flag_image (.clk(clk), .rst(rst), .enable(enable), .in(taken && image), .out(e5_image));
    wire [L*(X+1)-1:0] lanes;
    /* verilator lint_off UNUSED */
    wire [L-1:0] mask;
    /* verilator lint_on UNUSED */
    sn_lines #(
        .C(C), .X(X), .SIGNED(SIGNED), .S(S), .U(U), .PH(PH), .L(L), .Q(Q), .WORDS(WORDS), .PERIOD(PERIOD),
        .DONE(DONE), .LAST_DONE(LAST_DONE), .STEP(STEP), .LAST_STEP(LAST_STEP), .NS(NS), .RING(RING),
        .PLANES(PLANES), .PAIR(PAIR), .BLOCKS(BLOCKS), .READS(READS), .AFTER(AFTER), .LIMIT(LIMIT), .TAPS(TAPS),
        .K(K), .SHIFTS(SHIFTS), .WRITES_FILE(WRITES_FILE), .TAPS_FILE(TAPS_FILE), .MASKS_FILE(MASKS_FILE)
    ) lines (
        .clk(clk), .rst(rst), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data), .enable(enable),
        .tap(tap), .channel(channel), .block(block), .strip(strip), .place(place), .lanes(lanes),
        .mask(mask), .ready(ready), .now(block), .taken(taken), .take_image(image),
        .freed(e5_taken && enable), .free_image(e5_image));
    wire m0_valid, m0_last;
    sn_flag #(.N(LATENCY)) flag_m0 (.clk(clk), .rst(rst), .enable(enable), .in(running), .out(m0_valid));
    sn_delay #(.N(LATENCY)) delay_m0 (.clk(clk), .enable(enable), .in(tap_last), .out(m0_last));
    reg m1_valid, m1_last, fresh;
    wire [L*ACC-1:0] sums;
    genvar l;
    generate
        for (l = 0; l < L; l = l + 1) begin : lane
            wire signed [X:0] x = lanes[l*(X+1) +: X+1];
            if (MEAN != 0) begin : mean
                reg [ACC-1:0] sum;
                /* verilator lint_off UNUSED */
                wire [ACC+X:0] wide = {{ACC{x[X]}}, x};
                /* verilator lint_on UNUSED */
                always @(posedge clk) if (enable && m0_valid) sum <= (fresh ? 0 : sum) + wide[ACC-1:0];
                assign sums[l*ACC +: ACC] = sum;
            end else begin : maximum
                reg signed [X:0] most;
                localparam signed [X:0] LEAST_OF_ALL = {1'b1, {X{1'b0}}};
                wire signed [X:0] now = mask[l] ? x : LEAST_OF_ALL;
                always @(posedge clk) if (enable && m0_valid) most <= fresh || now > most ? now : most;
                assign sums[l*ACC +: ACC] = most[ACC-1:0];
            end
        end
    endgenerate
    wire busy;
    wire load = m1_valid && m1_last && !busy;
    assign enable = !(m1_valid && m1_last && busy);
    always @(posedge clk)
        if (rst) begin
            m1_valid <= 0;
            fresh <= 1;
        end else if (enable) begin
            m1_valid <= m0_valid;
            if (m0_valid) fresh <= m0_last;
        end
    always @(posedge clk) if (enable) m1_last <= m0_last;
    sn_emit #(
        .C(C), .L(L), .S(OUT_S), .ACC(ACC), .X(OUT_X), .RESCALE(MEAN), .NT(NT), .SHIFTS(FACTOR_SHIFTS), .LEAST(LEAST), .LOW(LOW),
        .HIGH(HIGH), .BIAS(BIAS), .FILE(FACTORS_FILE)
    ) emit (
        .clk(clk), .rst(rst), .load(load), .sums(sums), .busy(busy), .out_valid(out_valid), .out_ready(out_ready),
        .out_data(out_data));
endmodule
