// The mean over all places of each channel. The channels of the last word of an image leave as soon as they are added.
module sn_mean #(
    parameter C = 1,
    parameter X = 8,
    parameter SIGNED = 0,
    parameter S = 1,
    parameter BEATS = 1,  // of a channel in a word
    parameter WORDS = 1,  // of an image
    parameter PERIOD = 1,  // words after which the masks repeat
    parameter ACC = 20,
    parameter OUT_X = 25,
    parameter LEAST = 4,
    parameter [7:0] SHIFTS = 4,
    parameter signed [31:0] LOW = 0,
    parameter signed [31:0] HIGH = 255,
    parameter MASKS_FILE = "",  // for each word of the period and each beat: which elements are in the image
    parameter BIAS = 24,
    parameter FACTORS_FILE = ""
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [S*X-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [OUT_X-1:0] out_data
);
    localparam CB = C > 1 ? $clog2(C) : 1;
    localparam BB = BEATS > 1 ? $clog2(BEATS) : 1;
    localparam PB = PERIOD > 1 ? $clog2(PERIOD) : 1;
    localparam WB = WORDS > 1 ? $clog2(WORDS) : 1;
    // A beat in two cycles, and a channel only after the sums of the one before it were written.
    reg [3:0] wait_for;
    wire beat = in_valid && in_ready;
    assign in_ready = wait_for == 0;
    wire beat_last, channel_last, word_last, period_last;
    wire [BB-1:0] beat_at;
    wire [CB-1:0] channel;
    wire [PB-1:0] period_at;
    wire [WB-1:0] word_at;
    sn_count #(.N(BEATS)) count_beat (.clk(clk), .rst(rst), .step(beat), .value(beat_at), .last(beat_last));
    sn_count #(.N(C)) count_channel (
        .clk(clk), .rst(rst), .step(beat && beat_last), .value(channel), .last(channel_last));
    wire all = beat && beat_last && channel_last;
    /* verilator lint_off UNUSED */
    wire unused_period = period_last;
    /* verilator lint_on UNUSED */
    sn_count #(.N(PERIOD)) count_period (
        .clk(clk), .rst(rst || (all && word_last)), .step(all), .value(period_at), .last(period_last));
    sn_count #(.N(WORDS)) count_word (.clk(clk), .rst(rst), .step(all), .value(word_at), .last(word_last));
    wire [S-1:0] mask;
    sn_rom #(.W(S), .DEPTH(1 << (PB + BB)), .FILE(MASKS_FILE)) masks (
        .clk(clk), .enable(1'b1), .at({period_at, beat_at}), .out(mask));
    wire s2, s2_first, s2_last, s2_end, s2_begin;
    wire [CB-1:0] s2_channel;
    wire [S*X-1:0] s2_data;
    sn_flag #(.N(2)) flag (.clk(clk), .rst(rst), .enable(1'b1), .in(beat), .out(s2));
    sn_delay #(.W(CB + 4 + S*X), .N(2)) delay (
        .clk(clk), .enable(1'b1),
        .in({channel, beat_at == 0, beat_last, word_last, word_at == 0, in_data}),
        .out({s2_channel, s2_first, s2_last, s2_end, s2_begin, s2_data}));
    wire [ACC-1:0] earlier;
    reg write;
    reg [ACC-1:0] sum;
    reg [CB-1:0] write_at;
    sn_ram #(.W(ACC), .DEPTH(C)) ram (
        .clk(clk), .write(write), .write_at(write_at), .in(sum), .enable(1'b1), .read_at(channel),
        .out(earlier));
    wire [S*ACC-1:0] elements;
    genvar i;
    generate
        for (i = 0; i < S; i = i + 1) begin : element
            wire [X-1:0] x = s2_data[i*X +: X];
            /* verilator lint_off UNUSED */
            wire [ACC+X-1:0] wide = {{ACC{SIGNED != 0 && x[X-1]}}, x};
            /* verilator lint_on UNUSED */
            assign elements[i*ACC +: ACC] = mask[i] ? wide[ACC-1:0] : 0;
        end
    endgenerate
    reg [ACC-1:0] added;
    integer n;
    always @(*) begin
        added = !s2_first ? sum : s2_begin ? 0 : earlier;
        for (n = 0; n < S; n = n + 1) added = added + elements[n*ACC +: ACC];
    end
    reg finished;  // the sum of a whole image
    wire busy;
    wire load = finished && !busy;
    always @(posedge clk) begin
        if (s2) sum <= added;
        write_at <= s2_channel;
        write <= s2 && s2_last;
        if (rst) begin
            wait_for <= 0;
            finished <= 0;
        end else begin
            // the sum stays until it is loaded
            if (beat) wait_for <= beat_last ? 4'd5 : 4'd0;
            else if (wait_for > 1 || (wait_for == 1 && !(finished && busy))) wait_for <= wait_for - 1;
            if (s2 && s2_last && s2_end) finished <= 1;
            else if (load) finished <= 0;
        end
    end
    sn_emit #(
        .C(C), .L(1), .S(1), .ACC(ACC), .X(OUT_X), .SHIFTS(SHIFTS), .LEAST(LEAST), .LOW(LOW), .HIGH(HIGH),
        .BIAS(BIAS), .FILE(FACTORS_FILE)
    ) emit (
        .clk(clk), .rst(rst), .load(load), .sums(sum), .busy(busy), .out_valid(out_valid), .out_ready(out_ready),
        .out_data(out_data));
endmodule
