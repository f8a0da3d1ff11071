// Sums of a channel become elements of the result, as docs/FORMAT.md of squeezenet says:
//   limit((sum * m + (bias << (s - 4)) + (1 << (s - 1))) >> s)
// The same number is ((sum * m >> (s - 4)) + (bias + 8)) >> 4, because s is at least 5. Latency: 6 cycles, without stops.
module sn_rescale #(
    parameter C = 1,
    parameter S = 1,  // elements at a time
    parameter ACC = 20,  // bits of a sum
    parameter X = 8,  // bits of an element of the result
    parameter NT = 1,  // shifts: how many different ones
    parameter [8*NT-1:0] SHIFTS = 12,  // s - 4 of each
    parameter LEAST = 12,  // the smallest of them
    parameter signed [31:0] LOW = 0,
    parameter signed [31:0] HIGH = 255,
    parameter BIAS = 24,  // bits of a bias + 8
    parameter FILE = "",  // for each channel: which shift, bias + 8, m (16 bits)
    parameter CB = C > 1 ? $clog2(C) : 1
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    input wire [S*ACC-1:0] sums,
    input wire [CB-1:0] channel,
    output wire out_valid,
    output reg [S*X-1:0] out
);
    localparam TB = NT > 1 ? $clog2(NT) : 1;
    localparam PB = ACC + 17;
    localparam WIDE = PB - LEAST > 24 ? PB - LEAST : 24;
    wire [TB+BIAS+15:0] how;
    sn_rom #(.W(TB + BIAS + 16), .DEPTH(C), .FILE(FILE)) channels (
        .clk(clk), .enable(1'b1), .at(channel), .out(how));
    sn_flag #(.N(6)) flag (.clk(clk), .rst(rst), .enable(1'b1), .in(in_valid), .out(out_valid));
    wire [S*ACC-1:0] e2_sums;
    sn_delay #(.W(S*ACC), .N(2)) delay (.clk(clk), .enable(1'b1), .in(sums), .out(e2_sums));
    wire [TB-1:0] e2_shift;
    wire signed [BIAS-1:0] e2_bias;
    wire [15:0] e2_factor;
    assign {e2_shift, e2_bias, e2_factor} = how;
    reg [TB-1:0] e3_shift;
    reg signed [BIAS-1:0] e3_bias, e4_bias;
    always @(posedge clk) begin
        e3_shift <= e2_shift;
        e3_bias <= e2_bias;
        e4_bias <= e3_bias;
    end
    genvar i, t;
    generate
        for (i = 0; i < S; i = i + 1) begin : element
            reg signed [PB-1:0] product;
            wire [NT*WIDE-1:0] choices;
            for (t = 0; t < NT; t = t + 1) begin : shift
                wire signed [PB-1:0] shifted = product >>> SHIFTS[8*t +: 8];
                /* verilator lint_off UNUSED */
                wire [PB+WIDE-1:0] extended = {{WIDE{shifted[PB-1]}}, shifted};
                /* verilator lint_on UNUSED */
                assign choices[t*WIDE +: WIDE] = NT == 1 || e3_shift == t[TB-1:0] ? extended[0 +: WIDE] : 0;
            end
            reg [WIDE-1:0] chosen;
            integer n;
            always @(*) begin
                chosen = 0;
                for (n = 0; n < NT; n = n + 1) chosen = chosen | choices[n*WIDE +: WIDE];
            end
            reg signed [WIDE-1:0] e4;
            reg signed [WIDE:0] e5;
            wire signed [WIDE:0] whole = e5 >>> 4;
            /* verilator lint_off WIDTH */
            localparam signed [WIDE+32:0] TOP = HIGH, BOTTOM = LOW;
            /* verilator lint_on WIDTH */
            wire signed [WIDE+32:0] value = {{32{whole[WIDE]}}, whole};
            always @(posedge clk) begin
                product <= $signed(e2_sums[i*ACC +: ACC]) * $signed({1'b0, e2_factor});
                e4 <= chosen;
                e5 <= {e4[WIDE-1], e4} + {{(WIDE+1-BIAS){e4_bias[BIAS-1]}}, e4_bias};
                out[i*X +: X] <= value > TOP ? TOP[X-1:0]
                    : value < BOTTOM ? BOTTOM[X-1:0] : value[X-1:0];
            end
        end
    endgenerate
endmodule
